"""Where yamls lie: in ``conf/``, and in the folders of plug-ins from outside this repository.

A package brings plug-ins by an entry point of the group ``fedbackdoor.plugins`` that names it or a
package inside it, a folder by ``--plugins``. Yamls lie there as in ``conf/``, at the top or below
a folder ``conf``: ``defense/NAME.yaml`` and so on.
"""

import logging
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from benchmark.utils import fingerprint
from benchmark.utils.errors import UserError, unknown

log = logging.getLogger("benchmark")

PACKAGE = Path(__file__).resolve().parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
"""Ours: beside the package in a checkout, inside of it where it was installed."""
FLOWER = PACKAGE / "flower" / "conf"
"""Ours too, where Flower is installed."""
ENTRY_POINTS = "fedbackdoor.plugins"

_chosen: list[Path] = []


def use(folders: Sequence[Path]) -> None:
    """Take the plug-ins of these folders, and of no other; their modules can be imported then.

    Raises:
        UserError: a folder holds no yaml of a plug-in.
    """
    found = [folder.resolve() for folder in folders]
    for folder in found:
        if not any(_conf(folder).glob("*/*.yaml")):
            raise UserError(f"--plugins {folder}: no plug-in there, such as defense/NAME.yaml")
    if found != _chosen:
        fingerprint.forget()
    _chosen[:] = dict.fromkeys(found)
    sys.path += [str(folder) for folder in _chosen if str(folder) not in sys.path]


def chosen() -> tuple[Path, ...]:
    """The folders that were named, for whoever starts another process."""
    return tuple(_chosen)


def folders() -> dict[Path, str]:
    """Folders of yamls beside ours, and where each comes from: a package, or the folder named."""
    extra = {FLOWER: ""} if _has_flower() else {}
    return extra | _installed() | {_conf(folder): str(folder) for folder in _chosen}


def yamls(group: str) -> dict[str, Path]:
    """The choices that a group has, by name: one yaml each.

    Raises:
        UserError: two have the same name; names both files.
    """
    found: dict[str, Path] = {}
    for folder in (CONF, *folders()):
        for path in sorted((folder / group).glob("*.yaml")):
            if (other := found.setdefault(path.stem, path)) != path:
                raise UserError(f"two are called {group}={path.stem}: {other} and {path}")
    return found


def available(group: str) -> list[str]:
    """The names of a group's choices."""
    return sorted(yamls(group))


def no_choice(group: str, name: str) -> UserError:
    """That a group has no such choice, or what it would take to have it."""
    if (FLOWER / group / f"{name}.yaml").is_file():
        return UserError(f"{group}={name} needs Flower: pip install 'fedbackdoor[flower]'")
    return unknown(group, name, available(group))


def yaml_path(group: str, name: str) -> Path:
    """Where a choice's own yaml lies, or would lie."""
    return yamls(group).get(name, CONF / group / f"{name}.yaml")


def origin(group: str, name: str) -> str:
    """Where a choice comes from: nothing for ours, ``PACKAGE VERSION``, or a folder."""
    return folders().get(yaml_path(group, name).parents[1], "")


def _conf(folder: Path) -> Path:
    return folder / "conf" if (folder / "conf").is_dir() else folder


@cache
def _has_flower() -> bool:
    return find_spec("flwr") is not None


@cache
def _installed() -> dict[Path, str]:
    found: dict[Path, str] = {}
    for point in entry_points(group=ENTRY_POINTS):
        named = f"{point.dist.name} {point.dist.version}" if point.dist else point.name
        top, *below = point.value.split(".")
        spec = find_spec(top)
        # Found without importing it: that may take seconds.
        places = [Path(p, *below) for p in (spec and spec.submodule_search_locations) or ()]
        if not (places := [place for place in places if place.is_dir()]):
            log.warning("%s: its plug-ins are left out, as there is no %s", named, point.value)
        found |= {_conf(place.resolve()): named for place in places}
    return found
