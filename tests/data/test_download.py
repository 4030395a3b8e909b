"""Downloads, from a server of this process: once, whole, and checked."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.samples import Source
from benchmark.data.sources import cifar10
from benchmark.data.sources.cifar10 import Cifar10
from benchmark.data.sources.fedemnist import ARCHIVE, FedEmnist
from benchmark.data.sources.qmnist import IMAGES, LABELS, Qmnist
from tests.support import data_files
from tests.support.data_files import FileServer, fault


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("FEDBACKDOOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with data_files.file_server() as server:
        folder = data_files.write_qmnist(tmp_path / "published")
        for path in folder.iterdir():
            server.content[path.name] = path.read_bytes()
        archive = data_files.pack(data_files.write_fedemnist(tmp_path / "h5"), tmp_path / ARCHIVE)
        server.content[ARCHIVE] = archive.read_bytes()
        sums = {
            name: f"md5:{hashlib.md5(server.content[f'{name}.gz']).hexdigest()}"
            for name in (IMAGES, LABELS)
        }
        monkeypatch.setattr(Qmnist, "checksums", sums)
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        monkeypatch.setattr(FedEmnist, "checksum", f"sha256:{digest}")
        monkeypatch.setattr(Cifar10, "records", 4)
        bins = data_files.write_cifar10(tmp_path / "bins", records=4)
        archive = data_files.pack(bins, tmp_path / cifar10.ARCHIVE, "cifar-10-batches-bin/")
        server.content[cifar10.ARCHIVE] = archive.read_bytes()
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        monkeypatch.setattr(Cifar10, "checksum", f"sha256:{digest}")
        yield server


DOWNLOADING: list[tuple[Callable[[str], Source], list[str]]] = [
    (lambda url: Qmnist(url=url), [f"{IMAGES}.gz", f"{LABELS}.gz"]),
    (lambda url: FedEmnist(url=url), [ARCHIVE]),
    (lambda url: Cifar10(url=url), [cifar10.ARCHIVE]),
]


@pytest.mark.parametrize(("make", "files"), DOWNLOADING, ids=["qmnist", "fedemnist", "cifar10"])
def test_download_happens_once(
    server: FileServer, tmp_path: Path, make: Callable[[str], Source], files: list[str]
) -> None:
    first = make(server.url).load()
    assert server.requests == files
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == sorted(files)
    second = make("http://127.0.0.1:9/nobody-listens").load()
    assert np.array_equal(first.images, second.images)
    assert server.requests == files


@pytest.mark.parametrize(("make", "files"), DOWNLOADING, ids=["qmnist", "fedemnist", "cifar10"])
def test_broken_download_leaves_nothing_and_starts_again(
    server: FileServer, tmp_path: Path, make: Callable[[str], Source], files: list[str]
) -> None:
    server.breaks = True
    message = fault(make(server.url))
    assert f"{server.url}/{files[0]}: cannot be downloaded" in message
    assert "data.path=" in message
    assert list((tmp_path / "cache").iterdir()) == []
    server.breaks = False
    assert len(make(server.url).load().labels) in (30, 27, 24)


@pytest.mark.parametrize(("make", "files"), DOWNLOADING, ids=["qmnist", "fedemnist", "cifar10"])
def test_wrong_checksum_names_file_expected_and_found(
    server: FileServer, tmp_path: Path, make: Callable[[str], Source], files: list[str]
) -> None:
    expected = (*Qmnist.checksums.values(), FedEmnist.checksum, Cifar10.checksum)
    server.content = dict.fromkeys(files, b"something else")
    found = {
        hashlib.md5(b"something else").hexdigest(),
        hashlib.sha256(b"something else").hexdigest(),
    }
    message = fault(make(server.url))
    assert f"{files[0]}: wrong checksum" in message
    assert any(value.partition(":")[2] in message for value in expected)
    assert any(value in message for value in found)
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_file_in_the_cache_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    Qmnist(url=server.url).load()
    cached = tmp_path / "cache" / f"{LABELS}.gz"
    cached.write_bytes(cached.read_bytes()[:-4])
    assert len(Qmnist(url=server.url).load().labels) == 30
    assert server.requests.count(f"{LABELS}.gz") == 2


def test_file_that_the_server_lacks(server: FileServer) -> None:
    del server.content[f"{LABELS}.gz"]
    message = fault(Qmnist(url=server.url))
    assert f"{LABELS}.gz: cannot be downloaded" in message
    assert "404" in message


def test_no_network_says_to_give_a_path(server: FileServer) -> None:
    message = fault(FedEmnist(url="http://127.0.0.1:9/"))
    assert ARCHIVE in message
    assert "give data.path=" in message


def test_progress_is_shown_where_somebody_looks(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Qmnist(url=server.url).load()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    Cifar10(url=server.url).load()
    assert "100%" in capsys.readouterr().err
