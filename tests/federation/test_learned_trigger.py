"""A trigger that an attack changes between rounds: trained on, evaluated, saved and resumed."""

from pathlib import Path

import pytest
import torch

from benchmark.attacks.base import AttackContext
from benchmark.attacks.boosted import Boosted
from benchmark.federation.rounds import Federation
from benchmark.run.recorder import Checkpoint
from benchmark.tasks.learned_patch import LearnedPatch
from tests.support.toys import fit, make_federation


class Darker(Boosted):
    """Makes the patch darker by 20 before every round."""

    def before_training(self, context: AttackContext) -> None:
        assert isinstance(context.trigger, LearnedPatch)
        context.trigger.learn(context.trigger.pattern - 20 / 255)


def run(folder: Path, rounds: int, resume: bool = False) -> Federation:
    federation = make_federation(task=LearnedPatch(num_tasks=2), attack=Darker(), rounds=4)
    kept = Checkpoint(folder, "a cell", 1)
    fit(federation, callbacks=[kept], epochs=rounds, resume=kept.usable() if resume else None)
    return federation


def test_it_is_saved_and_resumed_bit_for_bit(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    resumed = run(tmp_path / "parts", 4, resume=True)
    assert whole.task.pattern.mean() == pytest.approx((128 - 4 * 20) / 255)
    assert torch.equal(resumed.task.pattern, whole.task.pattern)
    assert torch.equal(resumed.theta, whole.theta)


def test_engines_train_on_what_it_is_now(tmp_path: Path) -> None:
    federation = run(tmp_path, 3)
    held = federation.engine.data.images[federation.backdoor.indices]
    mine = federation.task.examples(federation.dataset, "train").indices
    expected = federation.task.stamp(federation.dataset.train.pixels(mine))
    assert torch.equal(held.float() / 255, expected)
    assert held[:, :, 2:7, 2:7].unique().tolist() == [128 - 3 * 20]
