"""Color, crops and mirrors, normalization, BatchNorm: every engine as the reference, or refused."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from benchmark.config.compose import compose
from benchmark.config.instantiate import make
from benchmark.config.plugins import available
from benchmark.data.augmentation import Augmentation, viewed
from benchmark.data.dataset import Split
from benchmark.engine.auto import AutoEngine
from benchmark.engine.base import Engine, Trained
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.cuda import CudaEngine
from benchmark.engine.plan import Examples, Lane, LocalClient, Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.models.normalize import Normalize
from benchmark.models.resnet import ResNet
from benchmark.testing.toys import seeded
from tests.engine.test_compiled import drawn_at_random

IMAGE = (3, 8, 9)
DATA = Split(
    images=torch.randint(256, (40, *IMAGE), generator=seeded(1)).to(torch.uint8),
    labels=torch.randint(10, (40,), generator=seeded(2)),
    offsets=torch.tensor([0, 40]),
)
CROPS = Augmentation(padding=2, flip=True)
ENGINES = {
    "cpu": CpuEngine(workers=2),
    "autograd": CpuEngine(workers=1, compiled=False),
    "cuda": CudaEngine(convolution="grouped", lanes=2),
    "streams": CudaEngine(lanes=0),
}
NORMALIZE = ([0.5, 0.4, 0.3], [0.25, 0.2, 0.3])


def chain() -> nn.Sequential:
    convolution = nn.Conv2d(3, 4, 3, stride=2)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(4 * 3 * 4, 10))


def network(norm: str) -> nn.Module:
    """Of color images that are normalized first."""
    inside = chain() if norm == "none" else ResNet(10, IMAGE, (1, 1), (4, 8), norm=norm)
    return nn.Sequential(Normalize(*NORMALIZE), inside)


def client_of(norm: str) -> ClientModule:
    return drawn_at_random(network(norm), 0)


def lane(n: int, slot: int, augmentation: Augmentation, batch: int = 3) -> Lane:
    indices = torch.randperm(40, generator=seeded(slot))[:n]
    local = Examples(indices, DATA.labels[indices])
    return LocalClient(local, 2, batch, 0, 0, slot, augmentation).honest_lane()


@st.composite
def lanes(draw: st.DrawFn) -> list[Lane]:
    """A ragged cohort, some of it augmented, some lanes of two parts."""

    def part(slot: int) -> Lane:
        seen = draw(st.sampled_from([Augmentation(), CROPS, Augmentation(flip=True)]))
        return lane(draw(st.integers(2, 9)), slot, seen, draw(st.integers(2, 5)))

    found = [part(slot) for slot in range(draw(st.integers(1, 3)))]
    return [made.then(part(9)) if draw(st.booleans()) else made for made in found]


def trained(engine: Engine, client: ClientModule, cohort: Sequence[Lane]) -> Trained:
    engine.check(client, IMAGE)
    engine.setup(client, DATA)
    return engine.train(client.flat(), Plan(0, list(cohort)))


def assert_close(found: Trained, expected: Trained) -> None:
    assert expected.updates.norm() > 0
    for one, other in (
        (found.updates, expected.updates),
        (found.losses, expected.losses),
        *([(found.statistics, expected.statistics)] if found.statistics is not None else []),
    ):
        assert (one - other).norm() <= 1e-10 * other.norm()


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("norm", ["none", "group"])
@given(cohort=lanes())
@settings(max_examples=8)
def test_color_views_and_normalization_are_the_same_in_every_engine(
    engine: Engine, norm: str, cohort: list[Lane]
) -> None:
    client = client_of(norm)
    assert_close(trained(engine, client, cohort), trained(ReferenceEngine(), client, cohort))


@pytest.mark.parametrize("name", ENGINES)
@given(cohort=lanes())
@settings(max_examples=8)
def test_batch_norm_is_the_same_in_every_engine_or_refused(name: str, cohort: list[Lane]) -> None:
    client, before = client_of("batch"), client_of("batch").statistics()
    if name == "cuda":
        with pytest.raises(ValueError, match=r"pads batches.*norm=group, or engine=cpu"):
            ENGINES[name].check(client, IMAGE)
        return
    found, expected = (trained(e, client, cohort) for e in (ENGINES[name], ReferenceEngine()))
    assert_close(found, expected)
    assert found.statistics is not None
    assert not torch.equal(found.statistics[0], before)
    assert torch.equal(client.statistics(), before)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_the_reference_is_a_loop_written_by_hand(norm: str) -> None:
    client, own = client_of(norm), lane(7, 0, CROPS)
    found = trained(ReferenceEngine(), client, [own])
    model = copy.deepcopy(client.model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=client.lr)
    for step, size in enumerate(own.sizes):
        assert own.views is not None
        images = [
            cropped(DATA.images[i], view)
            for i, view in zip(own.indices[step, :size], own.views[step], strict=False)
        ]
        optimizer.zero_grad()
        logits = model(torch.stack(images).double() / 255)
        cross_entropy(logits, own.labels[step, :size]).backward()
        optimizer.step()
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert torch.allclose(found.updates[0], after - client.flat(), rtol=1e-10, atol=1e-14)
    buffers = dict(model.named_buffers())
    kept = [buffers[name] for name, _ in client.statistic_shapes]
    assert len(kept) == (12 if norm == "batch" else 0)
    if kept:
        assert found.statistics is not None
        assert torch.allclose(found.statistics[0], torch.cat(kept), rtol=1e-10)


def cropped(image: Tensor, view: Tensor) -> Tensor:
    """What torchvision does: pad with black, crop, mirror."""
    height, width = image.shape[1:]
    down, right, mirrored = view.tolist()
    framed = pad(image, (4, 4, 4, 4))[:, 4 + down :, 4 + right :][:, :height, :width]
    return framed.flip(2) if mirrored else framed


def test_views_are_crops_of_a_black_frame_every_other_one_mirrored() -> None:
    drawn = Augmentation(padding=3, flip=True).draw(10, 20, seeded())
    assert drawn is not None
    views = drawn.flatten(0, 1)
    images = DATA.images[torch.arange(200) % 40]
    expected = torch.stack([cropped(*pair) for pair in zip(images, views, strict=True)])
    assert torch.equal(viewed(images, views), expected)
    assert views[:, :2].unique().tolist() == list(range(-3, 4))
    assert 0.4 < views[:, 2].double().mean() < 0.6
    assert Augmentation().draw(1, 1, seeded()) is None
    with pytest.raises(ValueError, match="crop_padding must be at most 127"):
        Augmentation(padding=128)


def test_views_derive_from_seed_round_purpose_and_place() -> None:
    local = Examples(torch.arange(40), DATA.labels)
    client = LocalClient(local, 1, 40, 0, 0, 0, CROPS)
    drawn = [
        client.honest_lane(),
        replace(client, slot=1).honest_lane(),
        replace(client, round=1).honest_lane(),
        replace(client, seed=1).honest_lane(),
        client.batches(local, 1, 40, "backdoor"),
    ]
    assert len({lane.views.numpy().tobytes() for lane in drawn if lane.views is not None}) == 5
    plain = replace(client, augmentation=Augmentation()).honest_lane()
    assert torch.equal(plain.indices, drawn[0].indices)
    assert plain.views is None


@pytest.mark.parametrize("norm", ["none", "group", "batch"])
def test_color_images_are_read_alike_by_every_engine(norm: str) -> None:
    client, pictures = client_of(norm), DATA.pixels(torch.arange(7), torch.float64)
    moved = torch.rand(len(client.statistics()), generator=seeded(), dtype=torch.float64)
    client.load_statistics(moved)
    with torch.no_grad():
        expected = client.eval()(pictures)
    for engine in ENGINES.values():
        engine.setup(client, DATA)
        found = engine.predictor(client.flat())(pictures)
        assert (found - expected).norm() <= 1e-12 * expected.norm()


@pytest.mark.parametrize("model", available("model"))
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_model_is_trained_alike_by_every_engine(engine: Engine, model: str) -> None:
    image = (3, 16, 16) if "resnet" in model else (1, 28, 28)
    section = compose([f"model={model}"])["model"]
    if model == "resnet18":
        section["channels"] = [8, 16, 16, 16]  # the same layers, narrower
    torch.manual_seed(0)
    client = ClientModule(make("model", section, num_classes=10, image=image), lr=0.1).double()
    images = torch.randint(256, (12, *image), generator=seeded()).to(torch.uint8)
    data = replace(DATA, images=images, labels=DATA.labels[:12])
    own = lane(5, 0, CROPS, batch=3)
    cohort = Plan(0, [replace(own, indices=own.indices % 12)])
    engine.check(client, image)
    found = []
    for each in (engine, ReferenceEngine()):
        each.setup(client, data)
        found.append(each.train(client.flat(), cohort))
    assert_close(*found)


def test_auto_measures_on_augmented_lanes_too(fresh_choices: None) -> None:
    client, cohort = client_of("group"), [lane(9, slot, CROPS, batch=1) for slot in range(2)]
    found = trained(AutoEngine(1), client, cohort)
    assert_close(found, trained(ReferenceEngine(), client, cohort))
    short = cohort[0].first(3)
    assert short.num_steps == len(short.epoch_ends) == len(short.indices) == len(short.labels) == 3
    assert short.views is not None
    assert torch.equal(short.views, cohort[0].views[:3])  # type: ignore[index]


def test_running_statistics_that_are_no_moving_average_are_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=r"layer '1' \(BatchNorm1d\).*give it a momentum"):
        ClientModule(model, lr=0.1)
