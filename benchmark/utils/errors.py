"""The one exception that the command line shows as a single line with exit status 2."""

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path


class UserError(Exception):
    """A fault that the user can mend: its message names the fault and the valid choices."""


class FullError(OSError):
    """No space is left to write on; the message says where, and that nothing is lost."""


def one_line(error: BaseException) -> str:
    """The first line of what an exception says; its type where it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def unknown(what: str, name: str, valid: Iterable[str], where: str = "") -> UserError:
    """The error for a name that does not exist: the nearest one, and all that do."""
    valid = sorted(valid)
    near = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    choices = f"valid: {', '.join(valid)}" if valid else "it has none"
    return UserError(f"no {what} '{name}'{where and f' in {where}'}; {hint}{choices}")


def program() -> str:
    """What the user typed: ``fedbackdoor``, or else ``python -m benchmark``.

    For what is said in this process; a file is the same whoever writes it. To be asked when it is
    said: what workers are forked from imports before it knows how they are started.
    """
    is_installed = Path(sys.argv[0]).stem == "fedbackdoor"
    return "fedbackdoor" if is_installed else "python -m benchmark"
