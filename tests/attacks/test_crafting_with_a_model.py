"""Attacks that train while they craft, as functions of a model and images: against hand loops."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, normalize

from benchmark.attacks.iba import IBA
from benchmark.data.dataset import FederatedDataset
from benchmark.engine.client import ClientModule
from benchmark.tasks.learned_noise import LearnedNoise
from benchmark.tasks.learned_patch import LearnedPatch
from benchmark.tasks.pattern import Pattern
from benchmark.testing import craft
from benchmark.testing.toys import seeded

LABELS = torch.tensor([0, 1, 0, 0, 0, 0])
IMAGES = torch.randint(256, (6, 8, 8), generator=seeded(3), dtype=torch.uint8)
PIXELS = IMAGES.unsqueeze(1).double() / 255
OWN = (IMAGES, LABELS)
RATE = 0.1
HOW = {"client_lr": RATE, "batch_size": 6}
"""A batch is all there is, so that no order enters."""


def pattern() -> dict[str, Any]:
    """A white patch of 4 × 4 in the corner, a pixel from the edges, wants class 1."""
    return {"task": Pattern(num_tasks=1, value="white"), "training": HOW}


def network() -> nn.Module:
    """An encoder of 64 · 3 + 3 weights, then an output layer of 3 · 2 + 2."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Flatten(), nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 2)
        return nn.Sequential(*layers).double()


MODEL = ClientModule(network(), RATE)
START, ENCODER = MODEL.flat(), slice(0, 195)


def logits(theta: Tensor, images: Tensor) -> Tensor:
    found: Tensor = functional_call(MODEL.model, MODEL.split(theta), (images,))
    return found


def slope(theta: Tensor, images: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """∂CE/∂θ."""
    at = theta.clone().requires_grad_()
    loss = cross_entropy(logits(at, images), labels, label_smoothing=smoothing)
    (found,) = torch.autograd.grad(loss, at)
    return found


def poison() -> Tensor:
    """The copies of the five images that are not of class 1, the target."""
    images = PIXELS[LABELS != 1].clone()
    images[:, :, 3:7, 3:7] = 1
    return images


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("center", ["own", "others"])
@pytest.mark.parametrize("weights_only", [False, True])
def test_alternating_minimization(center: str, weights_only: bool) -> None:
    """Two epochs of one batch: a step on CE + ρ/2 ‖w − c‖², then one on all poison, λ times."""
    rho, factor, previous = 0.5, 3.0, START + 0.01
    among = torch.ones_like(START)
    for layer in MODEL.layers:
        among[layer.place] = 1.0 if len(layer.shape) > 1 or not weights_only else 0.0
    theta, bad = START.clone(), poison()
    last = START - previous if center == "others" else -RATE * slope(START, PIXELS, LABELS)
    for _ in range(2):
        pull = rho * among * (theta - START - last)
        theta = theta - RATE * (slope(theta, PIXELS, LABELS) + pull)
        step = -RATE * slope(theta, bad, torch.ones(5).long())
        theta = theta + (1 + (factor - 1) * among) * step
    found = craft(
        "alternating_minimization", model=MODEL.model, examples=OWN, previous=previous, **pattern(),
        center=center, weights_only=weights_only, rho=rho, boost=factor, epochs=2,
    )  # fmt: skip
    assert close(found[0], theta - START)


def contrastive(theta: Tensor, images: Tensor, labels: Tensor, scale: float) -> Tensor:
    """By loops; the target is class 1."""
    with torch.enable_grad():
        at = theta.clone().requires_grad_()
        hidden = torch.tanh(images.flatten(1) @ at[:192].view(3, 64).T + at[192:195])
        z, total = normalize(hidden, dim=1), torch.zeros(()).double()
        for i in range(len(z)):
            others = [j for j in range(len(z)) if j != i]
            partition = sum((z[i] @ z[j] / 0.07).exp() for j in others)
            alike = [j for j in others if labels[j] == labels[i]]
            for p in alike:
                weight = (scale if labels[i] == 1 else 1.0) / len(alike)
                total = total - weight * ((z[i] @ z[p] / 0.07).exp() / partition).log()
        (found,) = torch.autograd.grad(total / len(z), at)
    return found


def test_chameleon() -> None:
    """One step of the encoder on the contrastive loss, then one of the classifier on CE."""
    bad, read = poison(), torch.ones(5).long()
    theta = START.clone()
    theta[ENCODER] -= 0.02 * contrastive(START, bad, read, 2.0)[ENCODER]
    encoded = theta.clone()
    theta[195:] -= 0.03 * slope(theta, bad, read)[195:]
    found = craft(
        "chameleon", model=MODEL.model, examples=(IMAGES[LABELS != 1], LABELS[LABELS != 1]),
        **pattern(), poison_share=1.0, scale=2.0, contrastive_epochs=1, contrastive_lr=0.02,
        epochs=1, lr=0.03, momentum=0.0, weight_decay=0.0,
    )  # fmt: skip
    assert (encoded - START).norm() > 1e-3
    assert close(found[0], theta - START)


def test_chameleon_freezes_the_encoder_that_it_is_given() -> None:
    given = torch.randn(1, len(START), generator=seeded(1), dtype=torch.float64) / 10
    found = craft("chameleon", given, model=MODEL.model, examples=OWN, **pattern())
    assert torch.equal(found[0, ENCODER], given[0, ENCODER])
    assert not torch.equal(found[0, 195:], given[0, 195:])


def test_a3fl() -> None:
    """One pass moves the patch by the sign of ∂CE(w_t)/∂patch; then all plant it."""
    patch = LearnedPatch(num_tasks=1)
    found = craft(
        "a3fl", model=MODEL.model, examples=OWN, task=patch, training=HOW,
        passes=1, trigger_lr=0.2, epochs=1, poison_share=1.0, label_smoothing=0.25,
    )  # fmt: skip
    images = PIXELS.clone()
    images[:, :, 2:7, 2:7] = 128 / 255
    images.requires_grad_()
    loss = cross_entropy(logits(START, images), torch.ones(6).long())
    (by_images,) = torch.autograd.grad(loss, images)
    expected = 128 / 255 - 0.2 * by_images.sum(dim=0)[:, 2:7, 2:7].sign()
    assert (patch.pattern - expected).abs().max() <= 0.5 / 255 + 1e-6
    # six places of a batch, five copies: one of them is there twice
    bad, read = patch.stamp(PIXELS[LABELS != 1]), torch.ones(6).long()
    every = [torch.cat([bad, bad[i : i + 1]]) for i in range(5)]
    assert any(close(found[0], -RATE * slope(START, some, read, 0.25)) for some in every)


def test_iba() -> None:
    """Honest, while g is trained on the honest model; planted once the noise does it."""
    given, learned = {"model": MODEL.model, "examples": OWN, "training": HOW}, []
    honest = -RATE * slope(START, PIXELS, LABELS)
    for rate in (1e-30, 0.3):
        noise = LearnedNoise(num_tasks=1, width=2)
        found = craft(IBA(threshold=1.0, passes=1, trigger_lr=rate), **given, task=noise)
        assert close(found[0], honest)
        learned.append(noise.weights.clone())
    weights = learned[0].double().requires_grad_()
    bad = functional_call(noise, {"weights": weights}, (PIXELS,)).clamp(0, 1)
    loss = cross_entropy(logits(START + honest, bad), torch.ones(6).long())
    (expected,) = torch.autograd.grad(loss, weights)
    assert torch.allclose(learned[0] - 0.3 * expected.float(), learned[1], atol=1e-6)
    assert expected.any()
    second = craft(IBA(threshold=0.0), **given, history=[{"updates": None}])
    assert not close(second[0], honest)


class Ramp(LearnedPatch):
    """Of 4 × 4 pixels, black on the left, white on the right."""

    def setup(self, dataset: FederatedDataset, seed: int) -> None:
        super().setup(dataset, seed)
        self.learn(torch.linspace(0, 1, 4).expand(1, 4, 4))


@pytest.mark.parametrize(
    ("before", "added"), [([1.5, -1, 3, -5], [-2, 0, 0, 8]), ([1, -2, 3, -4], [0, 0, 0, 0])]
)
def test_f3ba(before: list[float], added: list[float]) -> None:
    """Of w = (1, −2, 3, −4), before (1.5, −1, 3, −5), candidates are 1 and 4; none of no change.

    A kernel as wide as the patch gets its signs: − + on the left and the right end.
    """
    first = nn.Conv2d(1, 1, (1, 4), bias=False)
    nn.init.zeros_(first.weight)
    first.weight.data += torch.tensor([1.0, -2, 3, -4])
    model = nn.Sequential(first, nn.Flatten(), nn.Linear(40, 2)).double()
    previous = ClientModule(model, RATE).flat()
    previous[:4] = torch.tensor(before).double()
    found = craft(
        "f3ba", model=model, examples=OWN, task=Ramp(num_tasks=1, size=4), training=HOW,
        history=[{"updates": None, "start": previous}],
        conv_rate=0.5, trigger_passes=0, lr=1e-30,
    )  # fmt: skip
    assert found[0, :4].tolist() == pytest.approx(added, abs=1e-12)


def test_layer_substitution_finds_the_layer_that_the_backdoor_is_in() -> None:
    """Only the output's bias reads all as class 1: of it λ Δ^m, elsewhere Δ^b."""
    honest = torch.zeros_like(START)
    malicious = torch.full_like(START, 1e-3)
    honest[-2:], malicious[-2:] = torch.tensor([[50.0, -50.0], [-50.0, 50.0]]).double()
    given = torch.stack([honest, malicious])[None]
    found = craft(
        "layer_substitution", given, model=MODEL.model, examples=OWN, **pattern(), scale=0.5
    )
    expected = honest.clone()
    expected[-2:] = 0.5 * malicious[-2:] + 0.5 * honest[-2:]
    assert torch.equal(found[0], expected)


@pytest.mark.parametrize(
    "name", ["alternating_minimization", "chameleon", "f3ba", "a3fl", "iba", "layer_substitution"]
)
def test_what_is_missing_is_told_in_a_line(name: str) -> None:
    with pytest.raises(ValueError, match=r"^\w+ (trains|learns its trigger): craft\(..., model="):
        craft(name, torch.zeros(1, 2, 203))
    with pytest.raises(ValueError, match="model on examples: model= is missing"):
        craft(name, examples=OWN)
    with pytest.raises(ValueError, match="model on examples: examples= is missing"):
        craft(name, model=MODEL.model)
