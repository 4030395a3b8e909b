"""A partition on disk: six arrays, a manifest and a picture, the same bytes for the same data."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.data.card import draw
from benchmark.data.dataset import FederatedDataset, Split
from benchmark.data.division import Division, divide
from benchmark.data.manifest import ASKED, SCHEMA, again, checksum, read_manifest
from benchmark.data.samples import Partition, Samples, Source
from benchmark.utils.errors import UserError, one_line
from benchmark.utils.files import atomic_folder, write_json

SPLITS = ("train", "test")
ARRAYS = tuple(
    f"{split}_{kind}.npy" for split in SPLITS for kind in ("images", "labels", "offsets")
)


def build(
    source: Source, partition: Partition, out: Path, asked: dict[str, Any] | None = None
) -> FederatedDataset:
    """Load a source, divide it among users and write the folder ``out``.

    The folder appears whole or not at all, and replaces one that was there. It holds
    ``{train,test}_{images,labels,offsets}.npy`` (uint8, uint8, int64), ``manifest.json`` and
    ``card.png``; neither time nor place enters it, so that DVC knows it again.

    Args:
        source, partition: what is divided, and how.
        out: the folder.
        asked: the configuration that the folder answers to, kept as ``configuration.json``.

    Raises:
        UserError: the source or the scheme refuses; names the file or the fault.
    """
    samples = source.load()
    division = divide(samples, partition)
    arrays = _arrays(samples, division)
    manifest = _manifest(source, partition, samples, division, arrays)
    with atomic_folder(out) as folder:
        for name, array in arrays.items():
            np.save(folder / name, array, allow_pickle=False)
        write_json(folder / "manifest.json", manifest)
        if asked is not None:
            write_json(folder / ASKED, asked)
        (folder / "card.png").write_bytes(draw(_dataset(manifest, arrays), division.names))
    return load(out)


def load(folder: Path) -> FederatedDataset:
    """Read a folder that :func:`build` wrote, checking every array against the manifest.

    Raises:
        UserError: a file is missing, truncated, corrupt or was changed; names the file.
    """
    manifest = read_manifest(folder)
    arrays = {name: _read(folder / name, manifest["arrays"][name]) for name in ARRAYS}
    return _dataset(manifest, arrays)


def _arrays(samples: Samples, division: Division) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for split in SPLITS:
        chosen = np.flatnonzero(division.is_test == (split == "test"))
        chosen = chosen[np.argsort(division.user[chosen], kind="stable")]
        counts = np.bincount(division.user[chosen], minlength=len(division.names))
        images = samples.images[chosen]
        # A single channel has no axis on disk: gray data keep the hash that they always had.
        arrays[f"{split}_images.npy"] = images[:, 0] if images.shape[1] == 1 else images
        arrays[f"{split}_labels.npy"] = samples.labels[chosen]
        arrays[f"{split}_offsets.npy"] = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    return arrays


def _manifest(
    source: Source,
    partition: Partition,
    samples: Samples,
    division: Division,
    arrays: dict[str, np.ndarray],
) -> dict[str, Any]:
    num_classes, names = samples.num_classes, samples.class_names
    described = {
        name: {"sha256": _digest(array), "dtype": str(array.dtype), "shape": list(array.shape)}
        for name, array in arrays.items()
    }
    users = [np.diff(arrays[f"{split}_offsets.npy"]).tolist() for split in SPLITS]
    classes = [
        np.bincount(arrays[f"{split}_labels.npy"], minlength=num_classes).tolist()
        for split in SPLITS
    ]
    manifest = {
        "schema": SCHEMA,
        "hash": _content_hash(described, num_classes),
        "source": {
            "name": source.name,
            "license": source.license,
            "homepage": source.homepage,
            "parameters": _parameters(source),
        },
        "partition": {
            "name": partition.name,
            "user_kind": partition.kind(samples),
            "parameters": _parameters(partition),
        },
        "num_classes": num_classes,
        "train_images": len(arrays["train_labels.npy"]),
        "test_images": len(arrays["test_labels.npy"]),
        "arrays": described,
        "classes": [
            {"class": label, **({"name": names[label]} if names else {})}
            | {"train": train, "test": test}
            for label, (train, test) in enumerate(zip(*classes, strict=True))
        ],
        "users": [
            {"id": name, "train": train, "test": test}
            for name, train, test in zip(division.names, *users, strict=True)
        ],
    }
    return manifest | {"checksum": checksum(manifest)}


def _parameters(configured: Source | Partition) -> dict[str, Any]:
    """Its public attributes, except where the files came from."""
    values = vars(configured).items()
    return {k: v for k, v in values if k not in ("path", "url") and not k.startswith("_")}


def _digest(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _content_hash(described: dict[str, Any], num_classes: int) -> str:
    lines = "".join(f"{name} {described[name]['sha256']}\n" for name in ARRAYS)
    return hashlib.sha256(f"{lines}{num_classes} classes\n".encode()).hexdigest()


def _read(path: Path, described: dict[str, Any]) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {again()}") from None
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: truncated or corrupt ({one_line(error)}); {again()}") from None
    if _digest(array) != described["sha256"]:
        raise UserError(f"{path}: not the array of the manifest, it was changed; {again()}")
    return array


def _dataset(manifest: dict[str, Any], arrays: dict[str, np.ndarray]) -> FederatedDataset:
    def split(name: str) -> Split:
        images, labels, offsets = (
            torch.from_numpy(arrays[f"{name}_{kind}.npy"])
            for kind in ("images", "labels", "offsets")
        )
        return Split(images if images.dim() == 4 else images[:, None], labels.long(), offsets)

    return FederatedDataset(
        train=split("train"),
        test=split("test"),
        num_classes=manifest["num_classes"],
        facts={
            "name": manifest["source"]["name"],
            "hash": manifest["hash"],
            "users": len(manifest["users"]),
            "user_kind": manifest["partition"]["user_kind"],
            "train_images": manifest["train_images"],
            "test_images": manifest["test_images"],
            "license": manifest["source"]["license"],
        },
    )
