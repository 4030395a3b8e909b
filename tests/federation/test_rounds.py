"""The federation: rounds against centralized training and hand computations."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.attacks.boosted import Boosted
from benchmark.attacks.norm_bounded import NormBounded
from benchmark.defenses.base import DefenseContext
from benchmark.defenses.mean import Mean
from benchmark.defenses.norm_clip import NormClip
from benchmark.defenses.norm_reject import NormReject
from benchmark.engine.base import Engine, Trained
from benchmark.engine.plan import Plan
from benchmark.federation.participation import RandomSampling
from benchmark.federation.protocol import Protocol
from benchmark.run.recorder import Recorder
from benchmark.tasks.writer_backdoor import WriterBackdoor
from benchmark.testing.toys import make_dataset
from tests.support.toys import fit, make_federation, protocol

# Aggregation, weights and the server's step


class Scripted(Engine):
    """Gives every client an update known beforehand; compromised ones reach ``target``."""

    def __init__(self, honest: float, target: Tensor, compromised_from: int):
        self.honest, self.target, self.compromised_from = honest, target, compromised_from

    def train(self, theta: Tensor, plan: Plan) -> Trained:
        updates = torch.full((len(plan.lanes), len(theta)), self.honest, dtype=theta.dtype)
        updates[self.compromised_from :] = self.target - theta
        return Trained(updates, torch.zeros(len(plan.lanes)))


TARGET = torch.linspace(-2, 3, 226, dtype=torch.float64)


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
@pytest.mark.parametrize("server_lr", [1.0, 0.25, 2.0])
def test_model_replacement_makes_the_global_model_what_the_adversary_trained(
    weighting: str, server_lr: float
):
    federation = make_federation(
        attack=Boosted("paper"),
        engine=Scripted(honest=0.0, target=TARGET, compromised_from=3),
        clients_per_round=4,
        weighting=weighting,
        server_lr=server_lr,
        rounds=1,
    )
    fit(federation)
    assert (federation.theta - TARGET).norm() <= 1e-12 * TARGET.norm()


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_several_compromised_clients_share_the_boost(weighting: str):
    """All of a cohort replace the model together, and do not overshoot."""
    federation = make_federation(
        attack=Boosted("paper"),
        participation=RandomSampling(1.0),
        engine=Scripted(honest=0.0, target=TARGET, compromised_from=0),
        clients_per_round=4,
        weighting=weighting,
        server_lr=0.5,
        rounds=1,
    )
    fit(federation)
    assert (federation.theta - TARGET).norm() <= 1e-12 * TARGET.norm()


def test_boosts_by_hand():
    dataset = make_dataset([10, 20, 30, 40])
    half = RandomSampling(0.5)
    federation = make_federation(
        dataset, attack=Boosted(), participation=half, clients_per_round=4, server_lr=0.5
    )
    cohort = federation.sample_cohort(0)
    assert cohort.weights.tolist() == [0.25] * 4
    assert cohort.compromised.sum() == 2
    assert cohort.boosts.tolist() == pytest.approx([4 / (0.5 * 2)] * 2)
    federation.protocol = replace(federation.protocol, weighting="examples")
    cohort = federation.sample_cohort(0)
    sizes = (cohort.clients + 1) * 10
    assert cohort.weights.tolist() == pytest.approx((sizes / 100).tolist())
    assert cohort.boosts.tolist() == pytest.approx(
        [100 / (0.5 * n * 2) for n in sizes[cohort.compromised].tolist()]
    )


def test_the_server_moves_by_its_rate_times_the_weighted_mean():
    dataset = make_dataset([10, 20, 30])
    moved = {}
    for server_lr in (1.0, 0.5):
        for weighting in ("uniform", "examples"):
            federation = make_federation(
                dataset, rounds=1, server_lr=server_lr, weighting=weighting
            )
            start = federation.theta.detach().clone()
            fit(federation)
            moved[server_lr, weighting] = federation.theta.detach() - start
            cohort = federation.sample_cohort(0)
            updates = federation.engine.train(start, federation.plan(0, cohort)).updates
            n = (cohort.clients + 1).double() * 10
            weights = n / 60 if weighting == "examples" else torch.full((3,), 1 / 3).double()
            expected = server_lr * sum(w * u for w, u in zip(weights, updates, strict=True))
            assert (moved[server_lr, weighting] - expected).norm() <= 1e-6 * expected.norm()
    assert (moved[0.5, "uniform"] * 2 - moved[1.0, "uniform"]).norm() < 1e-12
    assert (moved[1.0, "uniform"] - moved[1.0, "examples"]).norm() > 1e-4


def test_the_model_stays_where_every_update_is_rejected():
    federation = make_federation(defense=NormReject(1e-9))
    start = federation.theta.detach().clone()
    recorder = Recorder()
    fit(federation, callbacks=[recorder])
    assert torch.equal(federation.theta, start)
    assert recorder.curves["rejected_fraction"].values == [1.0] * 3
    assert recorder.curves["all_rejected"].values == [1.0] * 3
    assert recorder.curves["false_positive_rate"].values == [1.0] * 3


class AfterRound(Mean):
    def after_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        return theta.clamp(-0.01, 0.01)


def test_the_defense_has_the_last_word_on_the_global_model():
    federation = make_federation(defense=AfterRound(), rounds=1)
    fit(federation)
    assert federation.theta.abs().max() == 0.01


def test_global_step_counts_rounds_and_theta_alone_is_optimized():
    federation = make_federation(rounds=4)
    fit(federation)
    assert federation.trainer.global_step == 4
    assert torch.equal(federation.client.flat(), federation.theta)


# The cohort


def test_a_cohort_is_drawn_without_replacement_or_with():
    without = make_federation(clients_per_round=6)
    for round in range(5):
        assert sorted(without.sample_cohort(round).clients.tolist()) == list(range(6))
    repeated = make_federation(clients_per_round=9, replacement=True)
    cohorts = [repeated.sample_cohort(round).clients.tolist() for round in range(20)]
    assert all(len(cohort) == 9 for cohort in cohorts)
    assert {user for cohort in cohorts for user in cohort} == set(range(6))


def test_a_cohort_is_the_same_whatever_the_attack_and_defense():
    """So that attacked and clean runs of one seed are paired."""
    parts: list[dict[str, Any]] = [
        {},
        {"attack": Boosted(), "defense": NormClip(1.0)},
        {"attack": NormBounded(), "participation": RandomSampling(0.5)},
    ]
    runs = [make_federation(**part) for part in parts]
    for round in range(4):
        first, *others = [run.sample_cohort(round).clients.tolist() for run in runs]
        assert others == [first, first]
    rounds = {tuple(runs[0].sample_cohort(round).clients.tolist()) for round in range(4)}
    seeds = {tuple(make_federation(seed=s).sample_cohort(0).clients.tolist()) for s in range(4)}
    assert len(rounds) > 1
    assert len(seeds) > 1


def test_nobody_is_compromised_without_an_attack():
    federation = make_federation(participation=RandomSampling(1.0))
    assert not federation.sample_cohort(0).compromised.any()


def test_honest_clients_train_the_same_whether_others_are_compromised():
    runs = [make_federation(attack=attack) for attack in (None, Boosted("code"))]
    plans = []
    for run in runs:
        fit(run)
        plans.append(run.plan(0, run.sample_cohort(0)))
    assert len(plans[0].lanes) == 3
    assert len(plans[1].lanes) == 4
    for clean, attacked in zip(plans[0].lanes[:2], plans[1].lanes[:2], strict=True):
        assert torch.equal(clean.indices, attacked.indices)
        assert torch.equal(clean.labels, attacked.labels)
        assert clean.dropout_seed == attacked.dropout_seed


def test_a_cohort_larger_than_the_users_is_refused():
    with pytest.raises(ValueError, match=r"clients_per_round must be 1 to 6, .*got 7"):
        make_federation(clients_per_round=7)
    assert make_federation(clients_per_round=7, replacement=True)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rounds", 0, "rounds must be at least 1"),
        ("clients_per_round", 0, "clients_per_round must be at least 1"),
        ("local_epochs", 0, "local_epochs must be at least 1"),
        ("batch_size", -1, "batch_size must be at least 1"),
        ("evaluate_every", 0, "evaluate_every must be at least 1"),
        ("checkpoint_every", 0, "checkpoint_every must be at least 1"),
        ("client_lr", 0.0, "client_lr must be positive"),
        ("server_lr", float("nan"), "server_lr must be positive"),
        ("weighting", "size", "weighting must be one of uniform, examples; got size"),
        ("measured_on", "train", "measured_on must be one of all, validation, test; got train"),
    ],
)
def test_a_protocol_out_of_range_is_refused(name: str, value: object, message: str):
    with pytest.raises(ValueError, match=message):
        protocol(**{name: value})
    assert isinstance(protocol(), Protocol)


def test_everybody_takes_part_whoever_is_measured():
    federations = [
        make_federation(measured_on=who, task=WriterBackdoor(num_tasks=1))
        for who in ("all", "validation", "test")
    ]
    for federation in federations:
        fit(federation)
    one, *others = (federation.theta for federation in federations)
    assert all(torch.equal(one, other) for other in others)
    _, validation, test = (set(f.task.target_users.tolist()) for f in federations)
    assert validation <= set(make_dataset().measuring("validation").measured.tolist())
    assert test <= set(make_dataset().measuring("test").measured.tolist())


def test_parts_that_do_not_fit_the_data_are_refused():
    with pytest.raises(ValueError, match="is nobody"):
        make_federation(participation=RandomSampling(0.01))
    few_classes = replace(make_dataset(), num_classes=5)
    with pytest.raises(ValueError, match="source_class must be 0 to 4"):
        make_federation(few_classes)


def test_a_round_is_planned_before_the_server_waits_for_the_one_before() -> None:
    """So that a GPU, which nobody has waited for yet, trains meanwhile; each round once."""
    done: list[tuple[str, int]] = []
    federation = make_federation(rounds=3)

    def noted(name: str) -> None:
        owners: dict[str, Any] = {"aggregate": federation.defense, "train": federation.engine}
        owner = owners.get(name, federation)
        work = getattr(owner, name)

        def wrapper(*given: Any) -> Any:
            planned = given[0] if name == "prepare" else federation.current_epoch
            done.append((name, planned))
            return work(*given)

        setattr(owner, name, wrapper)

    for name in ("prepare", "train", "aggregate", "evaluate"):
        noted(name)
    fit(federation)
    assert done == [
        ("prepare", 0),
        *(("train", 0), ("prepare", 1), ("aggregate", 0), ("evaluate", 0)),
        *(("train", 1), ("prepare", 2), ("aggregate", 1), ("evaluate", 1)),
        *(("train", 2), ("aggregate", 2), ("evaluate", 2)),
    ]
