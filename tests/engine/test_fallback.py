"""Where nothing can be compiled, the cpu engine runs autograd and says why, once."""

import logging
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmark.engine import native
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.models.cnn import PaperCNN, SmallCNN
from benchmark.utils import compiler
from tests.engine.test_engines import assert_engine_is_right, some_lane


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """As in a new process with an empty cache."""

    def forget() -> None:
        native.available.cache_clear()
        native._library.cache_clear()

    monkeypatch.setenv("FEDBACKDOOR_CACHE", str(tmp_path / "cache"))
    # The command line's log keeps its records to itself, should a test have run it before.
    monkeypatch.setattr(logging.getLogger("benchmark"), "propagate", True)
    forget()
    yield monkeypatch
    forget()


def some_client() -> ClientModule:
    torch.manual_seed(0)
    return ClientModule(SmallCNN(), lr=0.05).double()


def assert_falls_back(caplog: pytest.LogCaptureFixture, reason: str) -> None:
    with caplog.at_level(logging.WARNING, logger="benchmark"):
        for engine in (CpuEngine(workers=1), CpuEngine(workers=2)):
            assert_engine_is_right(engine, some_client(), [some_lane(3)])
            assert engine.kind == "autograd"
    (said,) = caplog.messages
    assert "autograd" in said
    assert reason in said


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        ("false", "false: exit status 1"),
        ("/nonexistent/cc", "/nonexistent/cc"),
        ("cc --no-such-option", "no-such-option"),
        ("true", "native-"),
    ],
)
def test_a_compiler_that_fails_is_named(
    fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, compiler: str, reason: str
):
    fresh.setenv("CC", compiler)
    assert_falls_back(caplog, reason)


def test_no_compiler_at_all(fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    fresh.delenv("CC", raising=False)
    fresh.setenv("PATH", "")
    assert_falls_back(caplog, "'cc'")


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_cache_that_cannot_be_written_is_named(
    fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    (tmp_path / "file").touch()
    fresh.setenv("FEDBACKDOOR_CACHE", str(tmp_path / "file"))
    assert_falls_back(caplog, str(tmp_path / "file"))


def test_a_damaged_library_is_named(
    fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    (tmp_path / "native.so").write_bytes(b"\x7fELF, but no more")
    fresh.setattr(native, "compiled", lambda source: tmp_path / "native.so")
    assert_falls_back(caplog, str(tmp_path / "native.so"))


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("damage", [lambda old: old[:9000], lambda old: old[:-1] + b"x"])
def test_a_library_that_was_cut_or_changed_is_compiled_again(
    fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
):
    # What is damaged needs no optimizer, which takes most of the time.
    fresh.setattr(compiler, "FLAGS", [flag.replace("-O3", "-O0") for flag in compiler.FLAGS])
    path = compiler.compiled(native._SOURCE)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    again = compiler.compiled(native._SOURCE)
    assert "damaged, compiled again" in caplog.text
    assert again.read_bytes() == whole or again != path
    assert native.available()
    assert [p.suffix for p in again.parent.iterdir()] == [".so"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="options of x86-64")
@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3"])
def test_narrower_vectors_train_and_predict_right(fresh: pytest.MonkeyPatch, target: str):
    # The vectors are the source's own: without most of the optimizer it compiles in half the time.
    flags = [f.replace("native", target).replace("-O3", "-O1") for f in compiler.FLAGS]
    assert f"-march={target}" in flags
    fresh.setattr(compiler, "FLAGS", flags)
    for model in (SmallCNN, PaperCNN):
        torch.manual_seed(0)
        client, engine = ClientModule(model(), lr=0.05).double(), CpuEngine(workers=1)
        assert_engine_is_right(engine, client, [some_lane(9, batch_size=5)])
        assert engine.kind == "compiled"
        images = torch.rand(7, 1, 28, 28, dtype=torch.float64)
        with torch.no_grad():
            expected = client.eval()(images)
        logits = engine.predictor(client.flat())(images)
        assert (logits - expected).norm() <= 1e-12 * expected.norm()
