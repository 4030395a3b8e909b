"""Where a configuration's partitioned data lie, made when they are not there yet."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmark.config.instantiate import make
from benchmark.data.manifest import ASKED, read_manifest
from benchmark.utils.errors import UserError
from benchmark.utils.files import locked, write_json
from benchmark.utils.fingerprint import fingerprint
from benchmark.utils.nested import digest

FOLDER = Path("data")
VERSIONED = FOLDER / "partitioned"
"""The partition that DVC tracks: that of ``params.yaml``."""


def partition(resolved: dict[str, Any], out: Path) -> str:
    """Load the source, divide it among users, write the folder ``out``; return its hash.

    Raises:
        UserError: the source or the scheme refuses; names the file or the fault.
    """
    if out.exists() and not (out.is_dir() and _is_ours(out)):
        raise UserError(f"{out}: holds something else than a partition; choose another folder")
    # Imported late: torch takes seconds, and what is there already needs none of it.
    from benchmark.data.store import build

    source = make("data", resolved["data"])
    scheme = make("partition", resolved["partition"])
    dataset = build(source, scheme, out, _asked(resolved))
    write_json(_stamp_path(out), _stamp(resolved))
    return str(dataset.facts["hash"])


def partitioned(resolved: dict[str, Any]) -> tuple[Path, str]:
    """Folder and content hash of a configuration's data; partitions them if need be."""
    own = _own_folder(resolved)
    with locked(Path(f".{own.name}.lock")):
        return there(resolved) or (own, partition(resolved, own))


def there(resolved: dict[str, Any]) -> tuple[Path, str] | None:
    """As :func:`partitioned`, where they are partitioned already."""
    for folder in (VERSIONED, _own_folder(resolved)):
        made = _read(_stamp_path(folder))
        # One that DVC brought has no stamp, and DVC vouches for it.
        if _read(folder / ASKED) == _asked(resolved) and made in (None, _stamp(resolved)):
            return folder, read_manifest(folder)["hash"]
    return None


def _own_folder(resolved: dict[str, Any]) -> Path:
    asked = _asked(resolved)
    return FOLDER / f"{asked['data']['name']}-{asked['partition']['name']}-{digest(asked)}"


def _is_ours(folder: Path) -> bool:
    return (folder / "manifest.json").exists() or not any(folder.iterdir())


def find(data_hash: str) -> Path | None:
    """The folder that holds data of this content hash, if there is one."""
    for path in sorted(FOLDER.glob("*/manifest.json")):
        with suppress(UserError):  # another version's, or damaged: not what is looked for
            if read_manifest(path.parent)["hash"] == data_hash:
                return path.parent
    return None


def _asked(resolved: dict[str, Any]) -> dict[str, Any]:
    return {group: resolved[group] for group in ("data", "partition")}


def _stamp(resolved: dict[str, Any]) -> dict[str, Any]:
    """What a partition depends on beside its configuration: code, and files at ``data.path``."""
    targets = [section["_target_"] for section in _asked(resolved).values()]
    path = resolved["data"].get("path")
    return {
        "code": fingerprint(["benchmark.data.store.build", *targets]),
        "files": _files(Path(path).expanduser()) if path else [],
    }


def _stamp_path(folder: Path) -> Path:
    """Beside the folder, whose bytes depend on its configuration alone."""
    return folder.with_name(f".{folder.name}.stamp.json")


def _files(path: Path) -> list[list[str | int]]:
    """Name, size and time of change of a file, or of all in a folder."""
    found = sorted(p for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file())
    return [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in found]


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise UserError(f"{path}: corrupt; delete its folder and partition again") from None
