"""Small files in the published formats of the data sources, and faults to put into them."""

import gzip
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmark.data.samples import Samples, Source
from benchmark.data.sources import fedemnist, qmnist
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


def pack(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w:bz2") as members:
        for path in sorted(folder.iterdir()):
            info = tarfile.TarInfo(path.name)
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
