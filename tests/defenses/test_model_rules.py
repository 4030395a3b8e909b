"""Rules that train or evaluate models on the server: by hand, and by the traps of others."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.defenses.backdoor_indicator import BackdoorIndicator
from benchmark.defenses.base import Defense, DefenseContext, DefenseSetting
from benchmark.defenses.deepsight import DeepSight, accepted, apart, euclidean, exceedings, neup
from benchmark.defenses.flare import Flare, discrepancies, votes
from benchmark.defenses.fltrust import FlTrust
from benchmark.defenses.masa import Masa, rises
from benchmark.defenses.submissions import Submissions
from benchmark.engine.base import Predict
from benchmark.engine.client import Layer, layers_of
from benchmark.testing import aggregate
from benchmark.testing.toys import model_context, seeded, toy_network
from benchmark.utils.randomness import generator
from tests.support.toys import fit, make_federation


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


AROUND = [[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [1.0, 1.0]]


def test_fltrust_by_hand_whatever_the_model_is() -> None:
    """Cosines of models in place of updates would be 1 for everybody beside a large θ."""
    for theta in ([0.0, 0.0], [100.0, 100.0]):
        result = aggregate("fltrust", AROUND, root=[1.0, 0.0], theta=theta)
        assert result.trust.tolist() == pytest.approx([1, 0, 0, 0.5**0.5])
        assert result.update.tolist() == pytest.approx([0.8787, 0.2929], abs=1e-4)
    longer = aggregate("fltrust", AROUND, root=[3.0, 0.0])
    assert longer.update.tolist() == pytest.approx([3 * 0.8787, 3 * 0.2929], abs=1e-3)


def test_fltrust_trusts_nobody_where_all_point_away() -> None:
    result = aggregate("fltrust", [[-2.0, 0.0], [0.0, 5.0], [0.0, 0.0]], root=[1.0, 0.0])
    assert result.update.tolist() == [0, 0]
    assert result.trust.tolist() == [0, 0, 0]
    assert result.info["all_rejected"] == 1


def test_fltrust_has_to_have_an_update_of_its_own() -> None:
    with pytest.raises(ValueError, match="the server's own update is 0"):
        aggregate("fltrust", AROUND, root=[0.0, 0.0])
    with pytest.raises(ValueError, match="needs clean data of the server's own"):
        aggregate("fltrust", AROUND)
    diverged = aggregate("fltrust", AROUND, root=[torch.inf, 0.0])
    assert not diverged.update.isfinite().all()
    assert diverged.trust.tolist() == [0, 0, 0, 0]


def test_fltrusts_server_trains_from_the_global_model_by_the_clients_rule() -> None:
    federation = make_federation(defense=FlTrust(), root_images=30, rounds=1)
    start = federation.theta.detach().clone()
    fit(federation)
    _, plan = federation.prepare(0)
    *updates, own = federation.engine.train(start, plan).updates
    expected = aggregate("fltrust", torch.stack(updates), root=own).update
    assert torch.allclose(federation.theta - start, expected, rtol=1e-12, atol=0)
    assert expected.norm() > 0


OUTPUT = {"fc.weight": (3, 2), "fc.bias": (3,)}


def trained_layers() -> tuple[Layer, Layer]:
    weight, bias = layers_of(OUTPUT)
    return weight, bias


def trained(K: int, scale: float = 0.5) -> tuple[DefenseContext, Tensor]:
    """A context whose model is not 0, and updates of it, float64."""
    context = model_context(K, dtype=torch.float64)
    P = len(context.theta)
    return replace(context, theta=drawn(P, seed=1) / 3), scale * drawn(K, P, seed=2)


def logits(theta: Tensor, images: Tensor) -> Tensor:
    """Of the toy network, without a workbench."""
    network, parts, start = toy_network().double(), {}, 0
    for name, parameter in network.named_parameters():
        parts[name] = theta[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
    found: Tensor = functional_call(network, parts, (images,))
    return found.detach()


def test_normalized_energies_by_hand() -> None:
    weight, bias = Layer("w", slice(0, 6), (3, 2)), Layer("b", slice(6, 9), (3,))
    rows = torch.tensor([[1.0, -1, 2, 0, 0, 0, 0, 1, 1], [0.0] * 9])
    found = neup(rows, weight, bias)
    assert found[0].tolist() == pytest.approx([4 / 14, 9 / 14, 1 / 14])
    assert found[1].tolist() == [0, 0, 0]
    # Above a third of 9/14, which is 3/14; of twenty classes 1/20 is more than a hundredth.
    assert exceedings(found, 0.01).tolist() == [2, 0]
    many = torch.cat([torch.tensor([1.0, 0.051, 0.049, 0.02]), torch.zeros(16)])
    assert exceedings(many[None], 0.01).tolist() == [2]
    assert exceedings(many[None], 0.5).tolist() == [1]


def test_division_differences_are_of_each_clients_own_model_and_of_probabilities() -> None:
    """Others take the last client's model for every row, or divide logits."""
    context, rows = trained(3)
    defense = DeepSight(images=40, seeds=2)
    received = Submissions(rows, torch.full((3,), 1 / 3), context.clients, 0, context)
    seen: list[Tensor] = []
    bench = context.workbench
    assert bench
    plain = bench.predictor
    bench.predictor = lambda theta: lambda images: (seen.append(images), plain(theta)(images))[1]  # type: ignore[method-assign]
    draws = defense.division_differences(received)
    assert len(draws) == 2
    assert not torch.equal(seen[0], seen[-1])
    for images, found in zip((seen[0], seen[-1]), draws, strict=True):
        assert images.shape == (40, 1, 28, 28)
        of_global = logits(context.theta, images).softmax(dim=1)
        for row, own in zip(rows, found, strict=True):
            ratios = logits(context.theta + row, images).softmax(dim=1) / of_global
            assert torch.allclose(own, ratios.mean(dim=0), rtol=1e-10)


def test_who_is_together_is_what_the_labels_say() -> None:
    """A matrix of ones whatever the labels detects nothing."""
    expected = [[0, 1, 0, 1, 1], [1, 0, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 1, 0, 1], [1, 1, 1, 1, 0]]
    assert apart(np.array([0, 1, 0, -1, -1])).tolist() == expected


def test_a_cluster_with_a_third_of_suspects_is_out_and_noise_is_judged_singly() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1, -1, -1])
    told = np.array([1, 0, 0, 1, 0, 0, 0, 1, 0], dtype=bool)
    assert accepted(labels, told, 1 / 3).tolist() == [False] * 3 + [True] * 4 + [False, True]
    assert accepted(labels, told, 0.2)[3:7].tolist() == [False] * 4


def test_suspicious_is_half_of_the_median_or_below_it() -> None:
    exceeded = torch.tensor([2, 4, 4, 4, 1])
    assert DeepSight().suspects(exceeded).tolist() == [True, False, False, False, True]
    below = DeepSight(suspicious="below").suspects(exceeded)
    assert below.tolist() == [False, False, False, False, True]


def test_deepsight_rejects_the_cluster_of_those_that_learned_one_class() -> None:
    """Clusters with few benign are not kept, and neither are those of their members who hide."""
    source = 0.02 * drawn(16, 9)
    source[:8] += torch.tensor([1.0, 1, 1, -1, 1, 1, 1, -1, 1])
    source[8:] += torch.tensor([3.0, -3, 0, 0, 0, 0, 3, 0, 0])
    result = aggregate("deepsight", source, layers=OUTPUT)
    assert result.trust.tolist() == [1] * 8 + [0] * 8
    assert result.info["clusters"] == 2
    assert result.info["suspicious"] == 8
    assert result.info["without_model"] == 1
    lengths = source.norm(dim=1)
    middle = (lengths.sort().values[7] + lengths.sort().values[8]) / 2
    shrunk = source * (middle / lengths).clamp(max=1)[:, None]
    assert torch.allclose(result.update, shrunk[:8].mean(dim=0))


def test_deepsight_looks_at_the_models_where_it_has_them() -> None:
    """Two kinds of models that differ in the convolution alone: output layers say nothing."""
    context, rows = trained(12)
    rows[:, 40:] = 0.1 + 1e-3 * drawn(12, len(context.theta) - 40)
    rows[:, :40] = 0.01 * drawn(12, 40)
    rows[6:, :40] += 2.0
    defense = DeepSight(images=60)
    defense.setup(DefenseSetting(12, 12, len(context.theta), 1, context.layers))
    received = Submissions(rows, torch.full((12,), 1 / 12), context.clients, 0, context)
    for found in defense.division_differences(received):
        far = euclidean(found)
        assert far[:6, 6:].min() > far[:6, :6].max()
    assert defense.combine(received).info["without_model"] == 0


def test_one_kind_of_update_is_noise_or_one_cluster_to_the_first_clusterings() -> None:
    """Alone they are noise to the first, and a single cluster to the last."""
    rows = 1 + 0.01 * drawn(8, 9)
    for single, apart_from_others in (("last", 1), ("all", 0)):
        defense = DeepSight(single=single)
        near = euclidean(neup(rows, *trained_layers()))
        assert defense._apart(near)[0, 1:].min() == apart_from_others, single
        result = aggregate("deepsight", rows, layers=OUTPUT, single=single)
        assert (result.info["clusters"], result.trust.sum()) == (1, 8)


def test_a_difference_that_is_not_finite_lies_far_from_all() -> None:
    points = torch.tensor([[0.0, 3], [4, 0], [torch.inf, 0]]).double()
    assert euclidean(points).tolist() == [[0, 1.25, 1e6], [1.25, 0, 1e6], [1e6, 1e6, 0]]
    assert euclidean(torch.zeros(2, 2)).tolist() == [[0, 0], [0, 0]]


def test_deepsight_does_not_hang_on_the_order_of_the_clients() -> None:
    rows = drawn(30, 9)
    order = torch.randperm(30, generator=seeded())
    for sizes in ((5, 3), (2, 1)):
        options = {"layers": OUTPUT, "min_cluster_size": sizes[0], "min_samples": sizes[1]}
        first = aggregate("deepsight", rows, **options)
        second = aggregate("deepsight", rows[order], **options)
        assert torch.equal(first.trust[order], second.trust)


def test_deepsight_needs_an_output_layer_with_biases() -> None:
    with pytest.raises(ValueError, match=r"output layer of weights .* it is all \(9,\)"):
        aggregate("deepsight", drawn(6, 9))
    with pytest.raises(ValueError, match="needs 5 clients"):
        aggregate("deepsight", drawn(4, 9), layers=OUTPUT)


def ready(defense: Defense, context: DefenseContext) -> None:
    """Set up for the context's clients, with root data."""
    K, P = len(context.clients), len(context.theta)
    defense.setup(DefenseSetting(K, K, P, 1, context.layers, has_root_data=True))


def test_the_indicator_is_planted_as_an_optimizer_would() -> None:
    context, _ = trained(3)
    defense = BackdoorIndicator(images=50, passes=20, batch_size=30, lr=0.05, mu=0.4)
    ready(defense, context)
    images, labels = defense.probes(context, context.theta)
    start = context.theta
    theta = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([theta], lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2, 3, 16], gamma=0.8)
    source = generator(0, 0, "indicator batches")
    layers = {layer.name: layer for layer in context.layers}
    for _ in range(20):
        for batch in torch.randperm(50, generator=source).split(30):
            optimizer.zero_grad()
            parts = {name: x.of(theta) for name, x in layers.items()}
            read = functional_call(toy_network().double(), parts, (images[batch],))
            loss = torch.nn.functional.cross_entropy(read, labels[batch])
            (loss + 0.4 / 2 * (theta - start).norm()).backward()
            optimizer.step()
        schedule.step()
    found = defense.before_round(start, context)
    assert (found - theta).norm() <= 1e-9 * (theta - start).norm()
    assert (found - start).norm() > 0.01


def test_the_probe_is_balanced_and_the_same_in_every_round_of_a_run() -> None:
    context, _ = trained(3)
    defense = BackdoorIndicator(images=40)
    ready(defense, context)
    images, labels = defense.probes(context, context.theta)
    assert labels.bincount().tolist() == [4] * 10
    assert labels.tolist() != (torch.arange(40) % 10).tolist()
    later, same = defense.probes(replace(context, round=5), context.theta)
    assert torch.equal(later, images)
    assert torch.equal(same, labels)
    other, _ = defense.probes(replace(context, seed=1), context.theta)
    assert not torch.equal(other, images)
    blurred = BackdoorIndicator("blurred", images=40)
    ready(blurred, context)
    soft, _ = blurred.probes(context, context.theta)
    assert soft.amin((1, 2, 3)).tolist() == [0] * 40
    assert soft.amax((1, 2, 3)).tolist() == [1] * 40
    rough, smooth = ((x[..., 1:] - x[..., :-1]).abs().mean() for x in (images, soft))
    assert smooth < rough / 2


def test_shuffled_root_images_have_their_pixels_in_one_other_order() -> None:
    context, rows = trained(3)
    defense = BackdoorIndicator("shuffled", images=30)
    ready(defense, context)
    images, _ = defense.probes(context, context.theta)
    assert context.root
    assert context.workbench
    plain = context.workbench.pixels(context.root.indices[:30], torch.float64)
    columns = {tuple(column) for column in plain.flatten(1).T.tolist()}
    assert {tuple(column) for column in images.flatten(1).T.tolist()} == columns
    assert not torch.equal(images, plain)
    with pytest.raises(ValueError, match="needs clean data of the server's own"):
        aggregate("backdoor_indicator", rows, model=toy_network(), probe="shuffled")


def test_the_indicator_rejects_from_nineteen_of_twenty_on() -> None:
    context, _ = trained(4)
    defense = BackdoorIndicator(images=200)
    ready(defense, context)
    bench, base = context.workbench, context.theta
    assert bench
    _, labels = defense.probes(context, base)

    def recalling(theta: Tensor) -> Predict:
        read = (labels + 1) % 10
        right = (labels == 3).nonzero().flatten()[: round(float(theta[0] - base[0]))]
        read[right] = 3
        return lambda images: torch.eye(10)[read]

    bench.predictor = recalling  # type: ignore[method-assign]
    rows = torch.zeros(4, len(base)).double()
    rows[:, 0] = torch.tensor([20.0, 19.0, 18.0, 0.0])
    result = defense.aggregate(rows, torch.full((4,), 0.25), context)
    assert result.trust is not None
    assert result.trust.tolist() == [0, 0, 1, 1]
    assert result.update[0] == 9
    assert result.info["probe_accuracy_max"] == 1
    assert result.info["probe_accuracy_median"] == (0.9 + 0.95) / 2
    defense.clip_bound = 2.0
    clipped = defense.aggregate(rows, torch.full((4,), 0.25), context)
    assert clipped.update[0] == 1


@pytest.mark.parametrize("defense", [Masa(), Flare()])
def test_of_two_neither_is_the_outlier_and_they_are_refused_at_the_start(defense: Defense) -> None:
    with pytest.raises(ValueError, match="needs 3 clients a round or more, clients_per_round is 2"):
        make_federation(defense=defense, clients_per_round=2, root_images=20)
    make_federation(defense=defense, clients_per_round=3, root_images=20)


def test_a_single_root_image_is_refused_at_the_start_by_flare() -> None:
    with pytest.raises(ValueError, match="Flare needs 2 root images or more, got 1"):
        make_federation(defense=Flare(), root_images=1)
    root = torch.zeros(1, 28, 28), torch.zeros(1)
    with pytest.raises(ValueError, match="Flare needs 2 root images or more, got 1"):
        aggregate("flare", drawn(4, 410), model=toy_network().double(), root=root)


def test_what_they_cannot_do_without_is_named() -> None:
    for name in ("backdoor_indicator", "masa", "flare"):
        given = {} if name == "backdoor_indicator" else {"root": torch.zeros(410)}
        with pytest.raises(ValueError, match=r"needs the model: aggregate\(..., model=...\)"):
            aggregate(name, drawn(4, 410), **given)
        if given:
            with pytest.raises(ValueError, match=r"needs images: aggregate\(..., root="):
                aggregate(name, drawn(4, 410), model=toy_network().double(), **given)


def equal(K: int) -> Tensor:
    return torch.full((K,), 1 / K)


def test_masa_rejects_on_one_side_of_the_median() -> None:
    assert rises(torch.tensor([1, 1.1, 0.9, 3])).tolist() == pytest.approx(
        [-0.0575, 0.0575, -0.1726, 2.2442], abs=1e-4
    )
    context, rows = trained(4)
    defense = Masa()
    ready(defense, context)
    for last, trust in ((3.0, [1, 1, 1, 0]), (-3.0, [1, 1, 1, 1]), (torch.nan, [1, 0, 1, 0])):
        given = iter([1.0, 1.02, 0.99, last])
        defense.unlearned = lambda *_: torch.tensor(next(given)).double()  # type: ignore[method-assign] # noqa: B023
        result = defense.aggregate(rows, equal(4), context)
        assert result.trust is not None
        assert result.trust.tolist() == trust
        kept = rows[torch.tensor(trust, dtype=torch.bool)]
        assert torch.allclose(result.update, kept.mean(dim=0))


def test_masa_unlearns_as_an_optimizer_would_from_the_fused_model() -> None:
    context, rows = trained(3)
    bench, root = context.workbench, context.root
    assert bench
    assert root
    started: list[Tensor] = []
    defense = Masa(epochs=3, batch_size=15, lr=0.05, clip=0.3)
    ready(defense, context)
    found = defense.unlearned(context.theta, context)
    theta = context.theta.clone().requires_grad_()
    optimizer = torch.optim.SGD([theta], lr=0.05, momentum=0.9, maximize=True)
    images, source = bench.pixels(root.indices, torch.float64), generator(0, 0, "masa batches")
    total = 0.0
    for _ in range(3):
        losses = []
        for batch in torch.randperm(40, generator=source).split(15):
            optimizer.zero_grad()
            parts = {x.name: x.of(theta) for x in context.layers}
            read = functional_call(toy_network().double(), parts, (images[batch],))
            loss = torch.nn.functional.cross_entropy(read, root.labels[batch])
            loss.backward()
            torch.nn.utils.clip_grad_norm_([theta], 0.3)
            optimizer.step()
            losses.append(loss.item())
        total += sum(losses) / len(losses)
    assert found.item() == pytest.approx(total, rel=1e-6)
    defense.unlearned = lambda theta, _: (started.append(theta), torch.ones(()).double())[1]  # type: ignore[method-assign]
    defense.aggregate(rows, equal(3), context)
    for row, start in zip(rows, started, strict=True):
        assert torch.allclose(start, context.theta + 0.7 * row + 0.3 * rows.mean(dim=0))


def test_discrepancies_by_their_definition() -> None:
    features = [drawn(5, 2, seed=k) + k for k in range(3)]

    def kernel(x: Tensor, y: Tensor, sigma: float) -> float:
        return float((-(x - y).square().sum() / (2 * sigma**2)).exp())

    medians = [torch.pdist(sample).median().item() for sample in features]
    for heuristic, sigma in ((False, 1.0), (True, sorted(medians)[1])):
        found = discrepancies(features, heuristic)
        for i, xs in enumerate(features):
            for j, ys in enumerate(features):
                if i == j:
                    continue
                within = sum(
                    kernel(z[a], z[b], sigma) / 20
                    for z in (xs, ys)
                    for a in range(5)
                    for b in range(5)
                    if a != b
                )
                between = sum(kernel(x, y, sigma) / 25 for x in xs for y in ys)
                assert found[i, j].item() == pytest.approx(within - 2 * between)


def test_flare_weighs_by_votes_of_models_that_see_the_same() -> None:
    context, rows = trained(7, scale=0.05)
    rows[0] += 0.3 * drawn(410, seed=9)
    for trust, weigh in (("softmax", lambda v: v.softmax(0)), ("share", lambda v: v / v.sum())):
        defense = Flare(trust=trust)  # type: ignore[arg-type]
        ready(defense, context)
        result = defense.aggregate(rows, equal(7), context)
        bench, root = context.workbench, context.root
        assert bench
        assert root
        images = bench.pixels(root.indices, torch.float64)
        seen = [bench.features(context.theta + row, images) for row in rows]
        tally = votes(discrepancies(seen), 3).double()
        assert tally.sum() == 21
        expected = weigh(tally)
        assert torch.allclose(result.update, expected @ rows)
        assert result.trust is not None
        assert torch.allclose(result.trust, expected / expected.max())
        assert result.trust.min() > 0 if trust == "softmax" else result.trust.min() == 0
