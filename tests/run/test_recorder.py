"""Curves, their summaries and checkpoints."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from benchmark.attacks.boosted import Boosted
from benchmark.federation.participation import FixedFrequency
from benchmark.run.curve import SECONDS, Curve, Summary
from benchmark.run.recorder import Checkpoint, Recorder, summarize
from tests.support.toys import fit, make_federation

TEN = list(range(10))


def test_a_summary_by_hand():
    curve = Curve(TEN, [float(v) for v in TEN])
    attacked = Curve(TEN, [0, 0, 1, 0, 0, 0, 0, 1, 0, 0])
    assert summarize(curve, attacked, 10) == Summary(
        final=9.0,
        last_fifth=8.5,
        cumulative_mean=4.5,
        before_attack=(1 + 6) / 2,
        after_attack=(2 + 7) / 2,
    )


def test_attacks_in_a_row_have_one_before():
    curve = Curve(TEN, [float(v) for v in TEN])
    summary = summarize(curve, Curve(TEN, [0, 0, 0, 2, 1, 1, 0, 0, 0, 0]), 10)
    assert summary.before_attack == 2.0
    assert summary.after_attack == 4.0


def test_what_was_not_measured_is_none():
    always = Curve(TEN, [1.0] * 10)
    summary = summarize(Curve(TEN, [0.5] * 10), always, 10)
    assert summary.before_attack is None
    never = Curve(TEN, [0.0] * 10)
    summary = summarize(Curve([4, 9], [0.2, 0.6]), never, 10)
    assert summary == Summary(0.6, 0.6, pytest.approx(0.4), None, None)
    assert summarize(Curve([0], [1.0]), never, 10).final is None


@pytest.mark.parametrize(("rounds", "fifth"), [(1, 1), (4, 1), (5, 1), (6, 2), (11, 3)])
def test_the_last_fifth_is_rounded_up(rounds: int, fifth: int):
    at = list(range(rounds))
    curve = Curve(at, [0.0] * (rounds - fifth) + [1.0] * fifth)
    assert summarize(curve, Curve(at, [0.0] * rounds), rounds).last_fifth == 1.0
    longer = Curve(at, [0.0] * (rounds - fifth + 1) + [1.0] * (fifth - 1))
    assert summarize(longer, Curve(at, [0.0] * rounds), rounds).last_fifth != 1.0


def test_the_recorder_keeps_every_rounds_metrics_and_tells():
    told: list[tuple[int, dict[str, float]]] = []
    recorder = Recorder(lambda round, values: told.append((round, values)))
    federation = make_federation(
        attack=Boosted(), participation=FixedFrequency(2), rounds=5, evaluate_every=2
    )
    fit(federation, callbacks=[recorder])
    assert recorder.curves["num_compromised"] == Curve([0, 1, 2, 3, 4], [0, 1, 0, 1, 0])
    assert recorder.curves["backdoor_in_sample"].rounds == [0, 1, 2, 3, 4]
    assert recorder.curves["main_accuracy"].rounds == [1, 3, 4]
    assert recorder.curves["compromised_norm_max"].rounds == [1, 3]
    assert [round for round, _ in told] == [0, 1, 2, 3, 4]
    for round, values in told:
        assert values.pop(SECONDS) == recorder.round_seconds[round]
        for name, value in values.items():
            curve = recorder.curves[name]
            assert curve.values[curve.rounds.index(round)] == value
    assert len(recorder.round_seconds) == 5
    assert min(recorder.round_seconds) > 0


class Killed(BaseException):
    """Stands for the end of the process."""


class KillAfter(pl.Callback):
    def __init__(self, round: int):
        self.round = round

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.round:
            raise Killed


@pytest.mark.parametrize(("every", "killed_in", "goes_on_from"), [(1, 3, 3), (2, 5, 4), (2, 4, 4)])
def test_a_killed_run_resumes_bit_by_bit(
    tmp_path: Path, every: int, killed_in: int, goes_on_from: int
):
    def run(*callbacks: pl.Callback, resume: str | None = None) -> tuple[torch.Tensor, Recorder]:
        federation = make_federation(
            attack=Boosted(), participation=FixedFrequency(2), rounds=6, seed=4
        )
        recorder = Recorder(on_round=lambda round, _: rounds.append(round))
        fit(federation, callbacks=[recorder, *callbacks], resume=resume)
        return federation.theta.detach(), recorder

    rounds: list[int] = []
    expected, undisturbed = run()
    with pytest.raises(Killed):
        run(Checkpoint(tmp_path, "mine", every), KillAfter(killed_in))
    rounds.clear()
    checkpoint = Checkpoint(tmp_path, "mine", every)
    theta, resumed = run(checkpoint, resume=checkpoint.usable())
    assert rounds == list(range(goes_on_from, 6))
    assert torch.equal(theta, expected)
    assert resumed.curves == undisturbed.curves
    assert len(resumed.round_seconds) == 6
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("round-0000005-")


def test_the_old_checkpoint_stays_until_the_new_one_is_whole(tmp_path: Path):
    class Torn(pl.Callback):
        """Dies in the middle of the second save."""

        saves = 0

        def on_save_checkpoint(self, *args: object) -> None:
            self.saves += 1
            if self.saves == 2:
                raise Killed

    checkpoint = Checkpoint(tmp_path, "mine", 1)
    with pytest.raises(Killed):
        fit(make_federation(), callbacks=[Recorder(), checkpoint, Torn()])
    usable = checkpoint.usable()
    assert usable
    assert torch.load(usable, weights_only=True)["global_step"] == 1


def test_of_two_checkpoints_the_later_counts_unless_it_is_damaged(tmp_path: Path):
    kept, later = tmp_path / "kept", Checkpoint(tmp_path, "mine", 1)
    fit(make_federation(rounds=1), callbacks=[Recorder(), later])
    (first,) = tmp_path.iterdir()
    kept.write_bytes(first.read_bytes())
    fit(make_federation(rounds=2), callbacks=[Recorder(), later])
    # A kill between both steps of a save leaves the earlier one beside the new one.
    kept.rename(first)
    second = max(tmp_path.iterdir())
    assert later.usable() == str(second) != str(first)
    second.write_bytes(second.read_bytes()[:-1])
    assert later.usable() == str(first)
