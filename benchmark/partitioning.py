"""Where a configuration's partitioned data lie, made when they are not there yet."""

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmark.building import make
from benchmark.data.store import build, read_manifest
from benchmark.errors import UserError
from benchmark.files import write_json

FOLDER = Path("data")
VERSIONED = FOLDER / "partitioned"
"""The partition that DVC tracks: that of ``params.yaml``."""

_ASKED = "configuration.json"


def partition(resolved: dict[str, Any], out: Path) -> str:
    """Load the source, divide it among users, write the folder ``out``; return its hash.

    Raises:
        UserError: the source or the scheme refuses; names the file or the fault.
    """
    if out.exists() and not (out.is_dir() and _is_ours(out)):
        raise UserError(f"{out}: holds something else than a partition; choose another folder")
    source = make("data", resolved["data"])
    scheme = make("partition", resolved["partition"])
    dataset = build(source, scheme, out)
    write_json(out / _ASKED, _asked(resolved))
    return str(dataset.facts["hash"])


def partitioned(resolved: dict[str, Any]) -> tuple[Path, str]:
    """Folder and content hash of a configuration's data; partitions them if need be."""
    asked = _asked(resolved)
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    own = FOLDER / f"{asked['data']['name']}-{asked['partition']['name']}-{digest}"
    for folder in (VERSIONED, own):
        if _read(folder / _ASKED) == asked:
            return folder, read_manifest(folder)["hash"]
    return own, partition(resolved, own)


def _is_ours(folder: Path) -> bool:
    return (folder / "manifest.json").exists() or not any(folder.iterdir())


def find(data_hash: str) -> Path | None:
    """The folder that holds data of this content hash, if there is one."""
    for path in sorted(FOLDER.glob("*/manifest.json")):
        if read_manifest(path.parent)["hash"] == data_hash:
            return path.parent
    return None


def _asked(resolved: dict[str, Any]) -> dict[str, Any]:
    return {group: resolved[group] for group in ("data", "partition")}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        raise UserError(f"{path}: corrupt; delete its folder and partition again") from None
