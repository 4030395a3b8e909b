"""Passes in compiled code say what torch says: means and orders to the last bit."""

import logging
import platform
import shutil
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmark.defenses import blocks, passes
from benchmark.defenses.multi_metrics import manhattan
from benchmark.testing import aggregate
from benchmark.utils import compiler

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> Iterator[pytest.MonkeyPatch]:
    """As in a new process with an empty cache."""
    monkeypatch.setenv("FEDBACKDOOR_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(logging.getLogger("benchmark"), "propagate", True)
    passes._library.cache_clear()
    yield monkeypatch
    passes._library.cache_clear()


def drawn(n: int, P: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Columns of wider rows, a vector, and weights of which one is 0."""
    source = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, P + 3, generator=source, dtype=dtype)[:, 2:-1]
    weights = torch.rand(n, generator=source, dtype=torch.float64)
    weights[seed % n] = 0
    return rows, torch.randn(P, generator=source, dtype=dtype), weights


def found(rows: Tensor, vector: Tensor, weights: Tensor, workers: int = 1) -> list[Tensor]:
    return [
        blocks.gram(rows, workers=workers),
        blocks.gram(rows, vector, workers),
        manhattan(rows, workers),
        blocks.row_norms(rows, workers),
        blocks.row_norms(rows, workers, vector),
        blocks.products(rows, vector, workers),
        blocks.beyond(rows, weights.to(rows), None, workers),
        blocks.beyond(rows, weights.to(rows), vector.sign(), workers),
        blocks.mean(rows, weights, workers=workers),
        blocks.mean(rows, weights, weights.flip(0), workers),
        blocks.ordered(rows),
    ]


def check(n: int, P: int, dtype: torch.dtype, seed: int) -> None:
    given = drawn(n, P, dtype, seed)
    assert passes.serves(given[0])
    compiled = found(*given)
    assert all(map(torch.equal, compiled, found(*given, workers=3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "serves", lambda rows: False)
        expected = found(*given)
    for ours, theirs in zip(compiled[:8], expected[:8], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12 * P)
    torch.testing.assert_close(compiled[8:], expected[8:], rtol=1e-6, atol=1e-6)
    assert torch.equal(compiled[10], expected[10])
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):  # as torch multiplies there
        assert torch.equal(compiled[8], expected[8])
        assert torch.equal(compiled[9], expected[9])


@needs_compiler
@FEW
@given(
    n=st.integers(1, 40),
    P=st.integers(1, 3000),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 999),
)
def test_they_are_what_torch_says(n: int, P: int, dtype: torch.dtype, seed: int) -> None:
    check(n, P, dtype, seed)


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="options of x86-64")
@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3"])
def test_narrower_vectors_are_right(fresh: pytest.MonkeyPatch, target: str) -> None:
    fresh.setattr(compiler, "FLAGS", [f.replace("native", target) for f in compiler.FLAGS])
    for n, P in ((1, 1), (7, 50), (30, 3000)):
        for dtype in (torch.float32, torch.float64):
            rows, vector, weights = drawn(n, P, dtype, seed=0)
            compiled = found(rows, vector, weights)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(passes, "serves", lambda rows: False)
                expected = found(rows, vector, weights)
            torch.testing.assert_close(compiled, expected, rtol=1e-5, atol=1e-5)


def test_without_a_compiler_torch_does_it_and_the_log_says_so_once(
    fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fresh.setenv("CC", "false")
    rows = torch.randn(7, 50, generator=torch.Generator().manual_seed(0))
    with caplog.at_level(logging.WARNING, logger="benchmark"):
        plain = [aggregate(name, rows).update for name in ("krum", "median", "norm_clip")]
    (said,) = caplog.messages
    assert "false: exit status 1" in said
    fresh.undo()
    passes._library.cache_clear()
    ours = [aggregate(name, rows).update for name in ("krum", "median", "norm_clip")]
    torch.testing.assert_close(ours, plain)
