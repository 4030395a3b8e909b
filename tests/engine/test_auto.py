"""The engine that measures and chooses."""

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmark.engine import auto, choices
from benchmark.engine.auto import AutoEngine
from benchmark.engine.base import Engine
from benchmark.engine.choices import Candidate
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.cuda import CudaEngine
from benchmark.engine.native import available
from benchmark.engine.plan import Plan
from benchmark.run import runner
from benchmark.utils.errors import UserError
from tests.engine.test_engines import DATA, some_lane
from tests.support.running import tiny
from tests.support.toys import tiny_client

PLAN = Plan(0, [some_lane(n=n, batch_size=3, seed=n) for n in (5, 9, 4)])


def trained(engine: Engine) -> Tensor:
    client = tiny_client()
    engine.setup(client, DATA)
    return engine.train(client.flat(), PLAN).updates


def answer(monkeypatch: pytest.MonkeyPatch, name: str) -> list[list[str]]:
    """Let ``name`` be the fastest; returns what was compared."""
    asked: list[list[str]] = []

    def fastest(works):
        asked.append(list(works))
        for candidate in works.values():
            candidate.work()
        return name, dict.fromkeys(works, 1.0)

    monkeypatch.setattr(auto, "fastest", fastest)
    return asked


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("cpu", CpuEngine(1)),
        ("autograd", CpuEngine(1, compiled=False)),
        ("cuda", CudaEngine(convolution="grouped")),
    ],
)
def test_it_trains_with_what_was_fastest(
    fresh_choices: None, monkeypatch: pytest.MonkeyPatch, name: str, same: Engine
) -> None:
    asked = answer(monkeypatch, name)
    engine = AutoEngine(1)
    found = trained(engine)
    assert torch.equal(found, trained(same))
    assert asked == [["cpu", "autograd", "cuda"]]
    assert engine.kind == f"{name}: {same.kind}"
    # Kept for the next engine of this shape, and for the next round.
    assert torch.equal(trained(AutoEngine(1)), found)
    assert len(asked) == 1


def test_what_an_engine_settled_on_while_it_was_measured_is_forgotten(
    fresh_choices: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that is short beside the other candidates is not short when they are gone."""
    answer(monkeypatch, "cuda")
    train = CudaEngine._train
    failures = iter([True])

    def exhausted_once(self: CudaEngine, *given: object) -> None:
        if next(failures, False):
            raise RuntimeError("CUDA out of memory")
        train(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(CudaEngine, "_train", exhausted_once)
    engine = AutoEngine(1)
    found = trained(engine)
    assert engine.state()["lanes"] == 16
    monkeypatch.setattr(CudaEngine, "_train", train)
    assert torch.equal(found, trained(CudaEngine(convolution="grouped")))


def test_its_workers_are_the_cores_that_it_was_made_with(fresh_choices: None) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        engine = AutoEngine()
        torch.set_num_threads(1)
        engine.setup(tiny_client(), DATA)
        assert engine.candidates["cpu"].workers == 3
    finally:
        torch.set_num_threads(before)


def test_it_says_what_it_measured_and_chose(
    fresh_choices: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "benchmark")
    engine = AutoEngine(1)
    trained(engine)
    measured = next(r.getMessage() for r in caplog.records if "'cpu'" in r.getMessage())
    assert "ms" in measured
    assert f"engine auto: chose {engine.name}" in caplog.text


def test_the_fastest_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, called = [0.0], []
    monkeypatch.setattr(choices.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(choices.time, "perf_counter", lambda: clock[0])

    def takes(name: str, seconds: list[float], threads: int = 1) -> Candidate:
        def work() -> None:
            called.append(name)
            clock[0] += seconds.pop(0) if len(seconds) > 1 else seconds[0]

        return Candidate(work, threads)

    name, seconds = choices.fastest(
        {
            "slow at first": takes("a", [9.0, 0.03, 0.02]),
            "of two threads": takes("b", [0.03], threads=2),
            "hopeless": takes("c", [1.0]),
        }
    )
    assert name == "of two threads"
    assert seconds == pytest.approx(
        {"slow at first": 0.02, "of two threads": 0.015, "hopeless": 1.0}
    )
    assert called.count("c") == 1


ANSWERS = ("yes", "no")


def test_answers_are_kept_and_a_damaged_one_is_measured_again(
    fresh_choices: None,
) -> None:
    counted = []

    def decide() -> str:
        counted.append(1)
        return "yes"

    for _ in range(2):
        assert choices.remembered(["question", 1], ANSWERS, decide) == "yes"
    assert len(counted) == 1
    assert choices.remembered(["question", 2], ANSWERS, decide) == "yes"
    assert len(counted) == 2
    damages = ["{", "[]", '{"answer": "another"}', '{"answer": ["yes"]}', "[" * 100_000]
    for count, damage in enumerate(damages, start=3):
        for path in (choices.cache_folder() / "choices").glob("*.json"):
            path.write_text(damage)
        assert choices.remembered(["question", 1], ANSWERS, decide) == "yes"
        assert len(counted) == count


def test_without_a_place_for_answers_it_measures_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(choices, "cache_folder", lambda: tmp_path / "file")
    assert choices.remembered(["question"], ANSWERS, lambda: "yes") == "yes"
    assert "measuring again each time" in caplog.text


class StoppedError(Exception):
    """Ends a run in the middle."""


def stop(round: int, metrics: dict[str, float]) -> None:
    if round == 1:
        raise StoppedError


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_stopped_run_goes_on_with_its_engine_whatever_is_faster_now(
    workplace: Path, fresh_choices: None, monkeypatch: pytest.MonkeyPatch, first: str, then: str
) -> None:
    cell = tiny("engine=auto", "device=cpu")
    answer(monkeypatch, first)
    expected = runner.run(cell, workplace / "undisturbed")
    assert expected.cost.engine.startswith(f"auto ({first}: ")
    with pytest.raises(StoppedError):
        runner.run(cell, workplace / "stopped", stop)
    monkeypatch.setattr(choices, "cache_folder", lambda: workplace / "another")
    answer(monkeypatch, then)
    record = runner.run(cell, workplace / "stopped")
    assert record.cost.engine == expected.cost.engine
    assert record.result() == expected.result()
    assert runner.run(cell, workplace / "anew").cost.engine.startswith(f"auto ({then}: ")


def test_an_engine_that_does_not_run_here_is_not_replaced_by_another() -> None:
    engine = AutoEngine(1)
    engine.setup(tiny_client(), DATA)
    with pytest.raises(UserError, match="trained with engine reference, which does not run here"):
        engine.restore({"engine": "reference", "device": "cuda", "kind": "autograd"})


@pytest.mark.skipif(not available(), reason="no C compiler")
def test_a_run_that_began_with_compiled_code_does_not_go_on_without(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = tiny("engine=cpu")
    with pytest.raises(StoppedError):
        runner.run(cell, workplace / "stopped", stop)
    monkeypatch.setattr("benchmark.engine.cpu.available", lambda: False)
    with pytest.raises(UserError, match=r"kind compiled.*go on with .*kind autograd"):
        runner.run(cell, workplace / "stopped")
