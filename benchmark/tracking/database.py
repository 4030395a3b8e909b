"""A SQLite file that holds MLflow's tables: all of them, or it is as it was.

MLflow makes its tables in the file, in many steps and seconds, and cannot go on with what a kill
leaves of that. Here they are made in memory and put into the file in one transaction.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

BOOKKEEPING = ("alembic_version", "workspaces")
"""Tables that MLflow fills while it makes them."""


def prepare(file: Path, artifacts: Path) -> None:
    """Make MLflow's tables where there are none, or parts of them without anything in them.

    Only one process may be at it.

    Args:
        file: made, with its folder, if it does not exist.
        artifacts: folder for those of experiments that name none.
    """
    if not _is_hollow(file):
        return
    made = SqlAlchemyStore("sqlite:///:memory:", str(artifacts.absolute()))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(made.engine.raw_connection()) as source, closing(sqlite3.connect(file)) as to:
            assert isinstance(source.driver_connection, sqlite3.Connection)
            source.driver_connection.backup(to)
    finally:
        made.engine.dispose()


def _is_hollow(file: Path) -> bool:
    """Whether nothing was ever kept in it: MLflow's last step makes the first experiment."""
    if not file.exists():
        return True
    with closing(sqlite3.connect(file)) as place:
        names = place.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return not any(
            place.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()
            for (name,) in names
            if name not in BOOKKEEPING
        )
