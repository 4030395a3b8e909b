"""Where runs are tracked: the address is checked before anything is started."""

import os
import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from benchmark.utils.errors import UserError
from benchmark.utils.urls import database_file, revealed, shown, sqlite_fault

DEFAULT_URI = "sqlite:///mlflow.db"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
FILE_NAME_BYTES = 255
VALID = (
    "sqlite:///FILE.db, http://HOST:PORT, https://HOST, "
    "postgresql://, mysql:// or mssql://USER@HOST/DATABASE, databricks"
)


def tracking_uri(uri: str | None = None) -> str:
    """``uri``, else ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.

    Raises:
        UserError: MLflow could never track there.
    """
    uri = revealed(uri or "") or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    scheme, dialect, host = _parts(uri)
    plugins = {point.name for point in entry_points(group="mlflow.tracking_store")}
    fault: str | None = None
    if dialect in ("", "file"):
        fault = "MLflow no longer writes to folders (`mlflow migrate-filestore` converts them)"
    elif dialect in ("http", "https") and not host:
        fault = "no host and port"
    elif dialect == "sqlite":
        fault = sqlite_fault(database_file(uri))
    elif dialect not in (*DATABASES, "http", "https", "databricks") and scheme not in plugins:
        fault = f"MLflow knows no scheme {scheme}"
    if fault:
        raise UserError(f"tracking uri {shown(uri)}: {fault}; valid: {VALID}")
    return uri


def fixed(uri: str) -> str:
    """``uri``, whatever the working directory will be.

    MLflow keeps a process's connections by address: a relative one would go on to the file of
    the directory in which it was used first.
    """
    head, slashes, rest = uri.partition(":///")
    file = database_file(uri) if head.startswith("sqlite") else None
    if file is None or file.is_absolute():
        return uri
    name, question, options = rest.partition("?")
    return f"{head}{slashes}{Path(name).absolute()}{question}{options}"


def artifact_folder(uri: str) -> Path | None:
    """Where artifacts go: beside a database; None where a server keeps them."""
    if _parts(uri)[1] not in DATABASES:
        return None
    file = database_file(uri) if uri.startswith("sqlite") else None
    return (file.parent if file else Path()) / "mlartifacts"


def experiment_fault(name: str, uri: str) -> str | None:
    """Why an experiment cannot be called that; None if it can.

    Beside a database its artifacts lie in a folder of that name.
    """
    if not name.strip():
        return "must be the name of an MLflow experiment"
    is_folder = name.strip() not in (".", "..") and not re.search(r"[/\\\x00-\x1f]", name)
    if artifact_folder(uri) is None or (is_folder and len(name.encode()) <= FILE_NAME_BYTES):
        return None
    return "must be a folder's name, without a slash or backslash, not . or .., of 255 bytes"


def _parts(uri: str) -> tuple[str, str, str | None]:
    """Scheme, scheme without driver, host (None if host or port are malformed)."""
    if uri == "databricks":
        return uri, uri, None
    scheme = uri.partition(":")[0] if ":" in uri else ""
    try:
        split = urlsplit(uri)
        host = split.hostname if split.port != 0 else None
    except ValueError:
        host = None
    return scheme, scheme.partition("+")[0], host
