"""What a partition's folder says of itself, read without what loads its arrays."""

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmark.utils.errors import UserError, one_line, program

SCHEMA = 2
ASKED = "configuration.json"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a partition folder.

    Keys: ``schema``, ``hash`` (of arrays and number of classes: all that changes a number),
    ``checksum`` (of all else that the manifest says), ``num_classes``, ``source`` and
    ``partition`` (name, parameters and more), ``train_images``, ``test_images``, ``classes`` and
    ``users`` (counts in both splits), ``arrays`` (SHA-256, type and shape of every file).

    Raises:
        UserError: the folder or the manifest is missing, corrupt or of another version.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; make the data with {program()} partition") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: truncated, corrupt or not readable ({one_line(error)}); {again()}"
        ) from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise UserError(f"{path}: not a manifest of schema {SCHEMA}; {again()}")
    if manifest.get("checksum") != checksum(manifest):
        raise UserError(f"{path}: it was changed; {again()}")
    return manifest


def again() -> str:
    """What mends it."""
    return f"run {program()} partition again"


def checksum(manifest: dict[str, Any]) -> str:
    """Of all that a manifest says."""
    said = {key: value for key, value in manifest.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
