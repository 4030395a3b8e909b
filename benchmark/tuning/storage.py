"""Where studies are kept: any database that Optuna takes, checked before it is written to.

Importing this module imports Optuna.
"""

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.exc import IntegrityError, SAWarning, SQLAlchemyError

from benchmark.utils.errors import UserError, one_line
from benchmark.utils.urls import database_file, file_fault, redacted, shown, sqlite_fault

PATIENCE_SECONDS = 60
"""For another process that writes to the same SQLite file."""
VALID = (
    "sqlite:///FILE.db, journal:///FILE.log, postgresql://USER@HOST/DATABASE, "
    "mysql://USER@HOST/DATABASE"
)


class _Journal(JournalFileBackend):
    """Optuna's journal, a file that is only appended to, for file systems where SQLite is unsafe:
    several machines may share it over NFS. What is wrong with it is said as databases say it.
    """

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        with _journal_faults():
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with _journal_faults():
            super().append_logs(logs)


@contextmanager
def _journal_faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageInternalError(str(error)) from None
    except ValueError as error:
        raise StorageInternalError(f"an entry is damaged ({error})") from None


def _is_journal(file: Path) -> bool:
    """Whether the first line of a file is an entry of a journal."""
    with file.open("rb") as stream:
        try:
            entry = json.loads(stream.readline())
        except ValueError:
            return False
    return isinstance(entry, dict) and "op_code" in entry


def check(url: str) -> Path | None:
    """Refuse what cannot be a storage, before anything is written.

    Returns:
        Its file, of one that has one.

    Raises:
        UserError: no database can be reached or kept there; says why.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    file = database_file(url) if scheme in ("sqlite", "journal") else None
    fault = None
    if scheme == "sqlite":
        fault = sqlite_fault(file)
    elif scheme == "journal":
        fault = file_fault(file, "journal of Optuna", _is_journal)
    if fault is not None:
        raise _refusal(url, fault)
    if scheme != "journal":
        with faults(url):
            _check_database(url, file)
    return file


def connect(url: str) -> BaseStorage:
    """Open a storage; its tables are made where they are not.

    Raises:
        UserError: see :func:`check`.
    """
    file = check(url)
    with faults(url), quiet():
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(_Journal(str(file))) if url.startswith("journal") else _made(url)


def _made(url: str, attempts: int = 5) -> RDBStorage:
    patient = {"connect_args": {"timeout": PATIENCE_SECONDS}} if url.startswith("sqlite") else {}
    try:
        return RDBStorage(url, engine_kwargs=patient)
    except RuntimeError as error:
        raise _refusal(url, one_line(error)) from error  # tables of another version of Optuna
    except SQLAlchemyError as error:
        # Two processes that start together both make the tables, and one is too late.
        late = isinstance(error, IntegrityError) or "already exists" in str(error)
        if not late or attempts == 1:
            raise
        time.sleep(1)
        return _made(url, attempts - 1)


def _check_database(url: str, file: Path | None) -> None:
    """Refuse what is no URL, options that its driver does not take, and another program's database
    that Optuna's tables would clash with.
    """
    try:
        parsed = sqlalchemy.make_url(url)
        if file is not None and not file.exists():
            # Its options are tried in memory: a refused command leaves no file.
            parsed = parsed.set(database=":memory:")
        with warnings.catch_warnings(action="error", category=SAWarning):
            engine = sqlalchemy.create_engine(parsed)
            try:
                tables = sqlalchemy.inspect(engine).get_table_names()
            finally:
                engine.dispose()
    except ImportError as error:
        driver = "install its driver, such as psycopg[binary] or mysqlclient"
        raise _refusal(url, f"{one_line(error)}: {driver}") from error
    except (ValueError, TypeError, SAWarning) as error:
        raise _refusal(url, one_line(error)) from error
    if "alembic_version" in tables and "studies" not in tables:
        raise _refusal(url, "holds another program's tables")


@contextmanager
def faults(url: str) -> Iterator[None]:
    """What a database says, or what Optuna makes of it, becomes one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        chain = list(_causes(error))
        if any(isinstance(e, SQLAlchemyError | StorageInternalError) for e in chain):
            raise _refusal(url, one_line(chain[-1])) from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from saying what its users need not know."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _refusal(url: str, fault: str) -> UserError:
    return UserError(f"storage {shown(url)}: {redacted(fault, url)}; valid: {VALID}")
