"""Small files in the published formats of the data sources, and faults to put into them."""

import gzip
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from benchmark.data.samples import Samples, Source
from benchmark.data.sources import cifar10, fedemnist, qmnist
from benchmark.utils.errors import UserError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"


def fault(source: Source) -> str:
    """The one line that a source refuses with."""
    with pytest.raises(UserError) as caught:
        source.load()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28)).astype(np.uint8)


class Fixed(Source):
    """A source that delivers what it is given."""

    name = "fixed"
    license = "none needed"
    homepage = "https://example.org"

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def load(self) -> Samples:
        return self._samples


def samples(
    labels: list[int],
    num_classes: int = 10,
    writers: list[int] | None = None,
    is_test: list[bool] | None = None,
) -> Samples:
    return Samples(
        images=images(len(labels))[:, None],
        labels=np.array(labels, np.uint8),
        num_classes=num_classes,
        writers=None if writers is None else np.array(writers, np.int64),
        writer_names=() if writers is None else tuple(f"w{w}" for w in range(max(writers) + 1)),
        is_test=None if is_test is None else np.array(is_test),
    )


def idx(array: np.ndarray) -> bytes:
    code = 0x08 if array.dtype == np.uint8 else 0x0C
    header = bytes((0, 0, code, array.ndim)) + np.array(array.shape, ">i4").tobytes()
    return header + array.tobytes()


def qmnist_bytes(n: int = 30, writers: int = 3) -> tuple[bytes, bytes]:
    """The two files, not compressed: ``ink`` is ``images(n)``, the writer of image i is i % w."""
    rows = np.zeros((n, 8), ">i4")
    rows[:, 0] = np.arange(n) % 10
    rows[:, 2] = 7 + np.arange(n) % writers * 100
    return idx(images(n)), idx(rows)


def write_qmnist(folder: Path, n: int = 30, writers: int = 3, compressed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in zip((qmnist.IMAGES, qmnist.LABELS), qmnist_bytes(n, writers), strict=True):
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
    return folder


def leaf_shard(writers: dict[str, list[int]]) -> dict[str, Any]:
    """A LEAF shard in which every image of a writer's labels is all 0.5."""
    return {
        "users": list(writers),
        "num_samples": [len(labels) for labels in writers.values()],
        "user_data": {
            writer: {"x": [[0.5] * 784 for _ in labels], "y": labels}
            for writer, labels in writers.items()
        },
    }


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write_h5(path: Path, writers: dict[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    with h5py.File(path, "w") as file:
        for writer, (pixels, labels) in writers.items():
            group = file.create_group(f"examples/{writer}")
            group["pixels"], group["label"] = pixels, labels
    return path


def write_fedemnist(folder: Path) -> Path:
    """Three writers with 6, 7, 8 training images and 2 test images each, all of gray 0.25."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, is_test in fedemnist.FILES.items():
        writers = {}
        for number in range(3):
            n = 2 if is_test else 6 + number
            pixels = np.full((n, 28, 28), 0.25, np.float32)
            writers[f"f{number}"] = pixels, (np.arange(n, dtype=np.int32) + number) % 10
        write_h5(folder / name, writers)
    return folder


def pack(folder: Path, archive: Path, inside: str = "") -> Path:
    with tarfile.open(archive, f"w:{archive.suffix[1:]}") as members:  # type: ignore[call-overload]
        for path in sorted(folder.iterdir()):
            info = tarfile.TarInfo(inside + path.name)
            info.size = path.stat().st_size
            members.addfile(info, io.BytesIO(path.read_bytes()))
    return archive


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, server: "FileServer", *arguments: Any) -> None:
        self._files = server
        super().__init__(*arguments)

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self._files.requests.append(name)
        if name not in self._files.content:
            self.send_error(404)
            return
        content = self._files.content[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        sent = content[: len(content) // 2] if self._files.breaks else content
        self.wfile.write(sent)

    def log_message(self, *arguments: Any) -> None:
        pass


class FileServer:
    """What a loopback server hands out; with ``breaks`` it hangs up in the middle of a file."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.breaks = False
        self.url = ""


@contextmanager
def file_server() -> Iterator[FileServer]:
    files = FileServer()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, files)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        files.url = f"http://127.0.0.1:{server.server_port}/base"
        try:
            yield files
        finally:
            server.shutdown()
            thread.join()


def colors(n: int, side: int = 8, seed: int = 0) -> np.ndarray:
    """``(n, side, side, 3)``, of which no two are equal."""
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3)).astype(np.uint8)


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """An image file of ``(H, W)`` or ``(H, W, 3)``."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def write_images(folder: Path, places: Sequence[str], pixels: np.ndarray | None = None) -> Path:
    """An image in each of these places."""
    for place, image in zip(places, colors(len(places)) if pixels is None else pixels, strict=True):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image))
    return folder


def write_table(
    path: Path, columns: dict[str, Any], names: Sequence[str] = (), label: str = "label"
) -> Path:
    """A parquet file; with names of classes, as the ``datasets`` library writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if names:
        features = {label: {"names": list(names), "_type": "ClassLabel"}}
        said = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": said})
    pq.write_table(table, path)
    return path


def hub_images(pixels: np.ndarray) -> list[dict[str, Any]]:
    """A column of images as the ``datasets`` library writes it."""
    return [{"bytes": encoded(image), "path": None} for image in pixels]


def write_cifar10(folder: Path, records: int) -> Path:
    """Six files of so many records: pixels ``colors(6 · records, 32)``, label i % 10."""
    folder.mkdir(parents=True, exist_ok=True)
    images = colors(6 * records, 32).transpose(0, 3, 1, 2).reshape(-1, 3072)
    labels = np.arange(6 * records, dtype=np.uint8)[:, None] % 10
    for name, rows in zip(cifar10.FILES, np.split(np.hstack([labels, images]), 6), strict=True):
        (folder / name).write_bytes(rows.tobytes())
    return folder
