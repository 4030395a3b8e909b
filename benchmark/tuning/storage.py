"""Where studies are kept: any database that Optuna takes, checked before it is written to.

Importing this module imports Optuna.
"""

import copy
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from benchmark.tuning.journal import Journal, is_journal
from benchmark.tuning.trial import OWNER
from benchmark.utils.errors import UserError, one_line
from benchmark.utils.urls import database_file, file_fault, shown, sqlite_fault

HEARTBEAT_SECONDS = 5
GRACE_SECONDS = 30
"""Without a heartbeat, after which a trial is run again; one that was alive after all is told
that it was given up, and its result is not counted."""
PATIENCE_SECONDS = 60
"""For another process that writes to the same SQLite file."""
VALID = (
    "sqlite:///FILE.db, journal:///FILE.log, postgresql://USER@HOST/DATABASE, "
    "mysql://USER@HOST/DATABASE"
)


class Database(RDBStorage):
    """Optuna's database, where a heartbeat that is missed in a short outage ends nothing."""

    def record_heartbeat(self, trial_id: int) -> None:
        """See Optuna; the next one comes soon."""
        with suppress(StorageInternalError, SQLAlchemyError):
            super().record_heartbeat(trial_id)


Storage = Database | Journal


class Again(RetryHeartbeatStaleTrialCallback):
    """Has a trial that was stopped tried again with the same parameters, by whoever comes."""

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Put it in line."""
        # Optuna appends to the history of the trial that it is given, which may be its own.
        stopped = copy.deepcopy(trial)
        stopped.user_attrs = {k: v for k, v in trial.user_attrs.items() if k != OWNER}
        # Hyperband's: it passes them anew.
        stopped.system_attrs = {
            k: v for k, v in stopped.system_attrs.items() if not k.startswith("completed_rung_")
        }
        super().__call__(study, stopped)


def connect(url: str) -> Storage:
    """Open a storage; its tables are made where they are not.

    Raises:
        UserError: no database can be reached or kept there; says why.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    file = database_file(url) if scheme in ("sqlite", "journal") else None
    options: dict[str, Any] = {}
    fault = None
    if scheme == "sqlite":
        fault = sqlite_fault(file)
        options["connect_args"] = {"timeout": PATIENCE_SECONDS}
    elif scheme == "journal":
        fault = file_fault(file, "journal of Optuna", is_journal)
    if fault is not None:
        raise _refusal(url, fault)
    with faults(url), quiet():
        if scheme != "journal":
            _check_free(url)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
        if file is not None and scheme == "journal":
            return Journal(file, HEARTBEAT_SECONDS, GRACE_SECONDS)
        return _made(url, options)


def _made(url: str, options: dict[str, Any], attempts: int = 5) -> Database:
    try:
        return Database(
            url,
            engine_kwargs=options,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
        )
    except (ImportError, RuntimeError) as error:
        # No driver for this database; tables of another version of Optuna.
        raise _refusal(url, one_line(error)) from error
    except SQLAlchemyError as error:
        # Two processes that start together both make the tables, and one is too late.
        late = isinstance(error, IntegrityError) or "already exists" in str(error)
        if not late or attempts == 1:
            raise
        time.sleep(1)
        return _made(url, options, attempts - 1)


def _check_free(url: str) -> None:
    """Refuse another program's database that Optuna's tables would clash with."""
    file = database_file(url) if url.startswith("sqlite") else None
    if file is not None and not file.exists():
        return
    try:
        engine = sqlalchemy.create_engine(url)
    except ImportError as error:
        driver = "install its driver, such as psycopg[binary] or mysqlclient"
        raise _refusal(url, f"{one_line(error)}: {driver}") from error
    try:
        tables = sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()
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
    return UserError(f"storage {shown(url)}: {fault}; valid: {VALID}")
