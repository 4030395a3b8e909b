"""Addresses of data, servers and databases: their secrets, and whether their files can be.

What a user types is concealed where it enters the program, so that nothing that is written or
said can hold a password; who connects asks for it again.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

# To the last @: a password that is not quoted may hold what else would end it.
_USER = re.compile(r"((?:://|^)[^/?#:\s]*:)(?!//)(\S+)@")
_NAMES = "password|passwd|pwd|pass|passphrase|sslpassword|secret|token|access_token|api_?key"
_QUERY = re.compile(rf"([?&;](?:{_NAMES}|odbc_connect)=)([^&\s'\"]+)", re.IGNORECASE)
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://.+")
_CONCEALED: dict[str, str] = {}


def shown(text: str) -> str:
    """``text`` without the passwords of the addresses in it.

    >>> shown("postgresql://me:a/b?c@host/runs"), shown("mysql://host/runs?password=abc")
    ('postgresql://me:***@host/runs', 'mysql://host/runs?password=***')
    """
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))


def redacted(fault: str, address: str) -> str:
    """What somebody says of an address, without its passwords."""
    secrets = [found[2] for found in [*_USER.finditer(address), *_QUERY.finditer(address)]]
    if set("".join(secrets)) & set("/?#@"):
        # Whoever reads such an address takes a part of the password for something else.
        return "in a password, / ? # @ are to be written %2F %3F %23 %40"
    for secret in secrets:
        fault = fault.replace(secret, "***").replace(unquote(secret), "***")
    return fault


def concealed(text: str) -> str:
    """As :func:`shown`, of one address or an override with one; this process can undo it."""
    found = _ADDRESS.search(text)
    if found and shown(text) != text:
        address = found.group().rstrip("'\"")
        _CONCEALED[shown(address)] = address
    return shown(text)


def revealed(address: str) -> str:
    """What :func:`concealed` was given, to connect with; anything else as it is."""
    return _CONCEALED.get(address, address)


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
