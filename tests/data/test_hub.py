"""A data set of the Hugging Face hub, from a server of this process that answers as it does."""

import json
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.sources.parquet import Parquet
from tests.support.data_files import colors, fault, hub_images, write_table

COMMIT = "c" * 40
TRAIN, TEST = "plain_text/train-00000-of-00001.parquet", "plain_text/test-00000-of-00001.parquet"


class Hub(BaseHTTPRequestHandler):
    """Two calls of the hub's: what a data set holds, and a file of it."""

    def __init__(self, folder: Path, *arguments: Any) -> None:
        self.folder = folder
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        files = [str(p.relative_to(self.folder)) for p in self.folder.rglob("*.*")]
        held = f"/datasets/somebody/pictures/resolve/{COMMIT}/"
        if path.startswith("/api/datasets/somebody/pictures/tree/"):
            sizes = {name: (self.folder / name).stat().st_size for name in files}
            listed = [
                {"type": "file", "path": name, "size": size, "oid": "0"}
                for name, size in sizes.items()
            ]
            self._answer(json.dumps(listed).encode())
        elif path.startswith("/api/datasets/somebody/pictures"):
            siblings = [{"rfilename": name} for name in files]
            said = {"id": "somebody/pictures", "sha": COMMIT, "siblings": siblings, "tags": []}
            self._answer(json.dumps(said).encode())
        elif path.startswith(held):
            self._answer((self.folder / path.removeprefix(held)).read_bytes())
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hash(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that the server hands out."""
    folder = tmp_path / "hub"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder)) as server:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        if find_spec("huggingface_hub"):
            from huggingface_hub import constants

            url = f"http://127.0.0.1:{server.server_port}"
            template = url + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(constants, "ENDPOINT", url)
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield folder
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.skipif(not find_spec("huggingface_hub"), reason="the extra hub is not installed")
def test_a_data_set_of_the_hub(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, part in ((TRAIN, slice(4)), (TEST, slice(4, 6))):
        labels = [0, 1, 0, 1, 0, 1][part]
        columns = {"img": hub_images(colors(6)[part]), "label": labels}
        write_table(hub / name, columns, ["cat", "dog"])
    (hub / "README.md").write_text("not asked for")
    samples = Parquet(path="somebody/pictures", image="img").load()
    assert np.array_equal(samples.images, colors(6).transpose(0, 3, 1, 2))
    assert samples.is_test is not None
    assert samples.is_test.tolist() == [False] * 4 + [True] * 2
    assert samples.class_names == ("cat", "dog")
    assert not list((tmp_path / "cache").rglob("README.md"))


@pytest.mark.skipif(not find_spec("huggingface_hub"), reason="the extra hub is not installed")
def test_what_the_hub_does_not_have(hub: Path) -> None:
    message = fault(Parquet(path="somebody/else"))
    assert message.startswith(
        "somebody/else: no such file or folder here, nor can the Hugging Face"
    )
    assert "404" in message


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = fault(Parquet(path="somebody/pictures"))
    assert "huggingface_hub is not installed" in message
    assert "pip install 'fedbackdoor[hub]'" in message
