"""Rules that do more than aggregate, by hand: what is private, deployed, pruned, masked."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.defenses.accounting import calibrated, epsilon
from benchmark.defenses.base import Defense, DefenseContext, DefenseSetting
from benchmark.defenses.central_dp import CentralDP
from benchmark.defenses.crfl import Crfl
from benchmark.defenses.fine_pruning import FinePruning, last_convolution, without
from benchmark.defenses.lockdown import Lockdown
from benchmark.engine.plan import Examples
from benchmark.run.recorder import Checkpoint
from benchmark.testing import aggregate
from benchmark.testing.toys import defense_context, model_context, seeded
from tests.support.toys import fit, make_federation

HAND = [[3.0, 4.0], [0.0, 5.0], [0.0, 0.0], [6.0, 8.0]]
ALMOST_NONE = 1e-9


def setting(**changes: Any) -> DefenseSetting:
    layers = defense_context(4, 3).layers
    chosen = {"num_users": 20, "clients_per_round": 4, "num_parameters": 4, "rounds": 3}
    return DefenseSetting(**{**chosen, "layers": layers, **changes})


@pytest.mark.parametrize(
    "build",
    [
        lambda: CentralDP(norm_bound=0.1, noise_multiplier=0.1, adaptive=True),
        lambda: Crfl(model_bound=3.0, start=1.0, copies=5),
        lambda: Lockdown(density=0.5, churn=0.4),
    ],
)
def test_a_run_that_was_stopped_goes_on_with_the_same_bits(build: Any, tmp_path: Path) -> None:
    def run(defense: Defense, **how: Any) -> Any:
        federation = make_federation(defense=defense, rounds=4)
        fit(federation, **how)
        return federation

    whole, kept = run(build()), Checkpoint(tmp_path, "a cell", every=1)
    run(build(), epochs=2, callbacks=[kept])
    resumed = run(build(), callbacks=[kept], resume=kept.usable())
    assert torch.equal(whole.theta, resumed.theta)
    assert torch.equal(whole.result, resumed.result)
    for name, value in whole.defense.state_dict().items():
        assert torch.equal(value, resumed.defense.state_dict()[name])


def test_the_cohort_that_is_expected_divides_and_who_sends_rubbish_counts_as_none() -> None:
    rows = torch.tensor([*HAND, [math.nan, 0.0]])
    result = aggregate("central_dp", rows, norm_bound=5.0, noise_multiplier=ALMOST_NONE)
    assert result.update.tolist() == pytest.approx([6 / 5, 13 / 5])
    assert result.info["not_finite"] == 1
    with pytest.raises(ValueError, match="no place for weights"):
        aggregate("central_dp", HAND, weights=[1, 1, 1, 2])


def test_noise_is_of_the_clipped_sum_by_the_expected_cohort() -> None:
    rows = torch.zeros(4, 40000)
    first, second = (
        aggregate("central_dp", rows, norm_bound=3.0, noise_multiplier=0.8, round=t).update
        for t in range(2)
    )
    for noise in (first, second, (first - second) / math.sqrt(2)):
        assert noise.std().item() == pytest.approx(0.8 * 3 / 4, rel=0.02)
    told = {"adaptive": True, "count_noise": 1.5}
    split = aggregate("central_dp", rows, norm_bound=3.0, noise_multiplier=1.0, **told).update
    assert split.std().item() == pytest.approx(1.0607 * 3 / 4, rel=0.02)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("dropped", [0, 1, 4])
def test_noise_is_as_much_whoever_sends_rubbish(dropped: int, adaptive: bool) -> None:
    rows = torch.zeros(4, 40000)
    rows[:dropped] = torch.nan
    told = {"norm_bound": 3.0, "noise_multiplier": 0.8, "count_noise": 1.0, "adaptive": adaptive}
    sound, result = (aggregate("central_dp", x, **told) for x in (torch.zeros(4, 40000), rows))
    assert torch.equal(result.update, sound.update)
    assert result.update.std().item() > 0.59
    if dropped == 4:
        assert result.trust.tolist() == [0] * 4
        assert (result.info["all_rejected"], result.info["not_finite"]) == (1, 4)


def test_a_bound_moves_by_noise_where_nobody_is_left() -> None:
    built = CentralDP(adaptive=True, noise_multiplier=0.1)
    aggregate(built, torch.full((4, 2), torch.nan))
    assert built.bound != 0.5
    assert built.bound.isfinite()


def test_the_bound_follows_a_noisy_count_after_the_round() -> None:
    exact = {"norm_bound": 5.0, "adaptive": True, "count_noise": 1e-6}
    exact |= {"noise_multiplier": ALMOST_NONE}
    first = aggregate("central_dp", HAND, **exact)
    assert first.update.tolist() == pytest.approx([1.5, 3.25])
    second = aggregate("central_dp", HAND, history=[HAND], **exact)
    assert second.info["clip_bound"].item() == pytest.approx(5 * math.exp(-0.05), rel=1e-5)
    # All are within, so it shrinks, each time by another draw of σ_b/K = 1/20.
    built, bounds = CentralDP(adaptive=True, noise_multiplier=0.1), []
    for t in range(400):
        bounds.append(aggregate(built, [[0.0]] * 4, round=t).info["clip_bound"].log())
    moved = torch.stack(bounds).diff()
    assert moved.mean().item() == pytest.approx(-0.2 * 0.5, abs=0.003)
    assert moved.std().item() == pytest.approx(0.2 / 20, rel=0.1)


def test_a_count_that_takes_all_of_the_noise_is_refused() -> None:
    split = CentralDP(noise_multiplier=1.0, adaptive=True, count_noise=0.5)
    with pytest.raises(ValueError, match="must be below 2 · count_noise = 1 where"):
        split.setup(setting())
    with pytest.raises(ValueError, match=r"must be below 2 · count_noise = 0\.4 where"):
        CentralDP(noise_multiplier=0.4, adaptive=True).setup(setting())


def test_epsilon_is_that_of_replacing_one_client() -> None:
    pytest.importorskip("dp_accounting")
    # N, K, T of the paper's data: 1.46 where replacing one moves the sum by C.
    assert epsilon(3383, 30, 1.0, 300)[0] == pytest.approx(1.4556, abs=1e-3)
    # It moves a sum of clipped updates by 2C.
    defense = CentralDP(noise_multiplier=2.0)
    defense.setup(setting(num_users=3383, clients_per_round=30, rounds=300))
    assert defense.epsilon == epsilon(3383, 30, 1.0, 300)[0]
    result = aggregate("central_dp", HAND, noise_multiplier=2.0)
    assert result.info["epsilon"].item() == epsilon(4, 4, 1.0, 1)[0]


@pytest.mark.parametrize("adaptive", [False, True])
def test_noise_is_calculated_from_a_wanted_epsilon(adaptive: bool) -> None:
    pytest.importorskip("dp_accounting")
    wanted = CentralDP(epsilon=3.0, delta=0.01, adaptive=adaptive, count_noise=5.0)
    wanted.setup(setting(num_users=4, rounds=2))
    assert wanted.epsilon == pytest.approx(3.0, abs=1e-3)
    said = CentralDP(noise_multiplier=wanted.multiplier, adaptive=adaptive, count_noise=5.0)
    said.setup(setting(num_users=4, rounds=2))
    assert (said.of_update, said.of_count) == (wanted.of_update, wanted.of_count)
    # δ = 4^(−1.1) is larger than 0.01, and asks for less.
    assert said.epsilon is not None
    assert said.epsilon < 3.0
    rows = torch.zeros(4, 40000)
    noise = aggregate("central_dp", rows, epsilon=3.0, delta=0.01).update.std().item()
    multiplier = calibrated(4, 4, 3.0, 1, 0.01)[0]
    assert multiplier is not None
    assert noise == pytest.approx(2 * multiplier * 0.5 / 4, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replacement": True}, "epsilon = 3 cannot be had: no accountant knows clients"),
        ({"num_users": 4, "clients_per_round": 4}, "epsilon = 3 cannot be had: the package dp-"),
    ],
)
def test_an_epsilon_that_cannot_be_had_is_refused_at_the_start(
    changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated.cache_clear()
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ValueError, match=message):
        CentralDP(epsilon=3.0).setup(setting(**changes))
    calibrated.cache_clear()
    for refused in ({"epsilon": 0.0}, {"delta": 1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(refused))} must be"):
            CentralDP(**refused)


def test_an_epsilon_beyond_all_accountants_is_refused() -> None:
    pytest.importorskip("dp_accounting")
    with pytest.raises(ValueError, match=r"epsilon = 1e\+09 cannot be had: no multiplier"):
        CentralDP(epsilon=1e9).setup(setting(num_users=4))


def test_epsilon_is_unknown_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for change, why in (
        ({"replacement": True}, "with replacement"),
        ({"num_statistics": 8}, "running statistics are averaged as they are"),
    ):
        told = CentralDP()
        told.setup(setting(**change))
        assert told.epsilon is None
        assert why in told.privacy()[1]
    assert epsilon(1, 1, 1.0, 1) == (None, "there is nobody else")
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    found, reason = epsilon(77, 7, 1.0, 7)
    assert found is None
    assert "fedbackdoor[privacy]" in reason
    assert "epsilon" not in aggregate("central_dp", HAND + HAND, noise_multiplier=1.5).info
    epsilon.cache_clear()


def test_crfl_clips_the_model_to_a_growing_bound_and_blurs_it_but_not_in_the_last_round() -> None:
    defense = Crfl(model_bound=2.75, start=2.0, growth=0.5, noise=0.1)
    defense.setup(setting(rounds=3, num_parameters=30000))
    theta = torch.randn(30000, generator=seeded())
    for round, bound in enumerate([2.5, 2.75, 2.75]):
        context = defense_context(30000, 3, round)
        after = defense.after_round(theta, context)
        before = defense.deployed(after, context)
        assert before.norm().item() == pytest.approx(bound, rel=1e-5)
        assert torch.allclose(before, theta * bound / theta.norm())
        noise = after - before
        assert noise.std().item() == pytest.approx(0.0 if round == 2 else 0.1, rel=0.02)
    short = torch.ones(4) / 10
    assert torch.equal(defense.after_round(short, defense_context(4, 3, 2)), short)


def test_crfl_answers_by_vote_in_the_last_round_only() -> None:
    context = model_context(3, round=1)
    theta = torch.randn(410, generator=seeded(1)) / 5
    bench, images = context.workbench, torch.rand(50, 1, 28, 28, generator=seeded(2))
    assert bench
    logits = bench.predictor(theta)(images).detach()

    def answers(rounds: int, **options: Any) -> torch.Tensor:
        defense = Crfl(**options)
        defense.setup(setting(rounds=rounds, num_parameters=410))
        return defense.predictor(theta, context)(images).detach()

    assert torch.equal(answers(rounds=3), logits)
    assert torch.equal(answers(rounds=2, copies=0), logits)
    sure = answers(rounds=2, vote_noise=0.0, copies=3)
    assert torch.equal(sure, torch.eye(10)[logits.argmax(dim=1)])
    votes = answers(rounds=2, vote_noise=0.3, copies=9)
    assert torch.allclose(votes.sum(dim=1), torch.ones(50))
    assert (votes.max(dim=1).values < 1).any()
    assert torch.equal((votes * 9).round() / 9, votes)
    assert torch.equal(votes, answers(rounds=2, vote_noise=0.3, copies=9))
    # The same copies, whatever images are asked about.
    defense = Crfl(vote_noise=0.3, copies=9)
    defense.setup(setting(rounds=2, num_parameters=410))
    assert torch.equal(defense.predictor(theta, context)(images[40:]), votes[40:])


def rooted(theta: torch.Tensor) -> DefenseContext:
    """The second round of a server whose images are what ``theta`` takes them for."""
    context = model_context(3, round=1)
    bench, root = context.workbench, context.root
    assert bench
    assert root
    labels = bench.predictor(theta)(bench.pixels(root.indices)).argmax(dim=1)
    return replace(context, root=Examples(root.indices, labels))


def pruned_by_hand(theta: torch.Tensor, context: DefenseContext, budget: float) -> torch.Tensor:
    bench, root, layers = context.workbench, context.root, context.layers
    assert bench
    assert root
    images = bench.pixels(root.indices)

    def correct(theta: torch.Tensor) -> int:
        with torch.no_grad():
            return int((bench.predictor(theta)(images).argmax(dim=1) == root.labels).sum())

    with torch.no_grad():
        bench.client.load(theta)
        *_, conv, relu, _, _ = bench.client.model
        means = relu(conv(bench.client.model[0](images))).mean(dim=(0, 2, 3))
    enough = correct(theta) - budget * len(root)
    for channel in means.argsort()[:-1].tolist():
        fewer = without(theta, layers, channel)
        if correct(fewer) < enough:
            break
        theta = fewer
    return theta


# With the last seed, what is most active is not what has the highest mean before the ReLU.
@pytest.mark.parametrize(
    ("seed", "budget", "pruned"), [(5, 0.0, 1), (5, 0.3, 2), (5, 0.9, 3), (12, 0.9, 3)]
)
def test_fine_pruning_prunes_sleepy_channels_within_its_budget_in_the_last_round(
    seed: int, budget: float, pruned: int
) -> None:
    theta = torch.randn(410, generator=seeded(seed))
    context = rooted(theta)
    defense = FinePruning(budget=budget, epochs=0)
    defense.setup(setting(rounds=3, layers=context.layers, has_root_data=True))
    assert defense.deployed(theta, context) is theta
    defense.setup(setting(rounds=2, layers=context.layers, has_root_data=True))
    found = defense.deployed(theta, context)
    assert torch.equal(found, pruned_by_hand(theta, context, budget))
    weights = last_convolution(context.layers)
    asleep = weights.of(found).flatten(1).abs().sum(dim=1) == 0
    # Of four.
    assert asleep.sum() == pruned


def test_tuning_trains_on_root_data_and_wakes_no_channel() -> None:
    theta = torch.randn(410, generator=seeded(1))
    context = rooted(theta)
    # Its slope at 0 is not 0, so that a pruned channel would learn.
    context.workbench.client.model[2] = torch.nn.Tanh()
    plain, tuned = (FinePruning(budget=0.9, epochs=epochs) for epochs in (0, 30))
    for defense in (plain, tuned):
        defense.setup(setting(rounds=2, layers=context.layers, has_root_data=True))
    before, after = plain.deployed(theta, context), tuned.deployed(theta, context)
    assert torch.equal(tuned.deployed(theta, context), after)
    bench, root = context.workbench, context.root
    assert bench
    assert root
    assert ((after == 0) == (before == 0)).all()
    losses = [
        bench.gradient(weights, bench.pixels(root.indices), root.labels)[0]
        for weights in (before, after)
    ]
    assert losses[1] < 0.8 * losses[0]


def test_fine_pruning_needs_a_convolution_and_root_data() -> None:
    with pytest.raises(ValueError, match="needs a model with a convolution"):
        make_federation(defense=FinePruning(), root_images=20)
    with pytest.raises(ValueError, match="needs clean data of the server's own"):
        make_federation(defense=FinePruning())
