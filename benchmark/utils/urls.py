"""Addresses of databases: how they are shown, and whether their files can be."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit


def shown(uri: str) -> str:
    """``uri`` without a password."""
    try:
        password = urlsplit(uri).password
    except ValueError:
        return uri
    return uri.replace(f":{password}@", ":***@") if password else uri


def database_file(uri: str) -> Path | None:
    """The file of a SQLite address, None where it names none."""
    name = unquote(uri.partition(":///")[2].partition("?")[0])
    return Path(name) if name and name != ":memory:" else None


def sqlite_fault(file: Path | None) -> str | None:
    """Why no SQLite database can be at ``file``; None if one can."""
    return file_fault(file, "SQLite database", _is_sqlite)


def file_fault(file: Path | None, what: str, is_one: Callable[[Path], bool]) -> str | None:
    """Why a file cannot be what it is to be, or be made; None if it can.

    Args:
        file: None if an address names none.
        what: it is to be.
        is_one: whether a file that is not empty is.
    """
    if file is None:
        return "no file"
    if file.is_dir():
        return f"{file} is a folder"
    if file.is_file() and file.stat().st_size and not is_one(file):
        return f"{file} is no {what}"
    existing = next(parent for parent in file.absolute().parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return f"{existing} cannot be written to"
    return None


def _is_sqlite(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(16) == b"SQLite format 3\0"
