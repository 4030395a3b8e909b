"""A model of one's own: trained alike by every engine, or refused with the reason."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from benchmark.config.compose import compose
from benchmark.engine.auto import AutoEngine
from benchmark.engine.base import Engine
from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.cuda import CudaEngine
from benchmark.engine.plan import Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.models.cnn import PaperCNN, SmallCNN
from benchmark.run.assembly import build
from benchmark.testing.toys import make_dataset, make_split, seeded
from benchmark.utils.errors import UserError
from tests.engine.test_engines import DATA, assert_engine_is_right, some_lane

IMAGE = (1, 28, 28)
LANES = [some_lane(5, batch_size=3, seed=1), some_lane(4, batch_size=4, seed=2)]


class Residual(nn.Module):
    """Not a chain: sums, functions, normalization, a buffer, a parameter of its own."""

    scale: Tensor

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, stride=3, padding=1, dilation=2, bias=False)
        self.second = nn.Conv2d(4, 4, 3, padding="same", groups=2)
        self.norm = nn.GroupNorm(2, 4)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(4, num_classes)
        self.shift = nn.Parameter(torch.zeros(4))
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, images: Tensor) -> Tensor:
        x = relu(self.norm(self.first(images)))
        x = x + self.scale * self.second(x)
        return self.last(self.drop(x.mean(dim=(2, 3)) + self.shift))


class Attending(nn.Module):
    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.embed = nn.Linear(28, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.last = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.embed(images.squeeze(1))
        mixed, _ = self.attention(rows, rows, rows, need_weights=False)
        return self.last(self.norm(rows + mixed).mean(dim=1))


class Branching(nn.Module):
    """Takes another way by what it computes."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.last = nn.Linear(784, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.last(images.flatten(1))
        return logits * 2 if logits.sum() > 0 else logits


class BatchCentered(Branching):
    def forward(self, images: Tensor) -> Tensor:
        logits = self.last(images.flatten(1))
        return logits - logits.mean(dim=0) if self.training else logits


class BatchNormalized(nn.Module):
    running = True

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.last = nn.Linear(784, num_classes)
        self.norm = nn.BatchNorm1d(num_classes, track_running_stats=self.running)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.last(images.flatten(1)))


class ByTheBatch(BatchNormalized):
    running = False


class Casting(Branching):
    """Works in float32 only."""

    def forward(self, images: Tensor) -> Tensor:
        return self.last(images.float().flatten(1))


class Noisy(Branching):
    def forward(self, images: Tensor) -> Tensor:
        return self.last((images + 0.1 * torch.randn_like(images)).flatten(1))


class FocalClient(ClientModule):
    """A loss of one's own."""

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        likelihood = logits.softmax(dim=1)[torch.arange(len(labels)), labels]
        return -((1 - likelihood) * likelihood.log()).mean()


def engines() -> list[Engine]:
    return [
        ReferenceEngine(),
        CpuEngine(1),
        CpuEngine(2, compiled=False),
        CudaEngine(convolution="grouped"),
        CudaEngine(convolution="matmul"),
        AutoEngine(1),
    ]


NAMES = ["reference", "cpu", "autograd", "cuda-grouped", "cuda-matmul", "auto"]


def make_client(model: type[nn.Module]) -> ClientModule:
    torch.manual_seed(0)
    return ClientModule(model(), lr=0.1).double()


@pytest.mark.parametrize("engine", engines(), ids=NAMES)
@pytest.mark.parametrize("model", [Residual, Attending])
def test_a_model_of_ones_own_is_trained_by_every_engine(
    engine: Engine, model: type[nn.Module], fresh_choices: None
) -> None:
    client = make_client(model)
    engine.check(client, IMAGE)
    assert_engine_is_right(engine, client, LANES)


@pytest.mark.parametrize("engine", engines(), ids=NAMES)
@pytest.mark.parametrize("model", [SmallCNN, PaperCNN])
def test_images_of_any_channels_and_size_are_trained_by_every_engine(
    engine: Engine, model: type[nn.Module], fresh_choices: None
) -> None:
    image = (3, 11, 9)
    torch.manual_seed(0)
    client = ClientModule(model(image=image), lr=0.1).double()
    data = make_split([60], seeded(3), image)
    engine.check(client, image)
    assert_engine_is_right(engine, client, LANES[1:], data)
    predicted = engine.predictor(client.flat())(data.pixels(torch.arange(60), torch.float64))
    expected = client.model.eval()(data.images.double() / 255)
    assert torch.allclose(predicted, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("model", "reason"),
    [(Branching, "data-dependent control flow"), (BatchCentered, "depends on the others")],
)
def test_what_cannot_be_vectorized_is_refused_and_trained_by_the_others(
    model: type[nn.Module], reason: str, fresh_choices: None
) -> None:
    client = make_client(model)
    with pytest.raises(ValueError, match=f"{reason}.*engine=cpu and engine=reference train it"):
        CudaEngine().check(client, IMAGE)
    lanes = [some_lane(6, batch_size=3, seed=1), some_lane(4, batch_size=2, seed=2)]
    for engine in (ReferenceEngine(), CpuEngine(1), AutoEngine(1), CudaEngine(lanes=0)):
        engine.check(client, IMAGE)
        assert_engine_is_right(engine, client, lanes)


def test_a_model_that_the_probe_cannot_run_is_left_to_the_others(fresh_choices: None) -> None:
    torch.manual_seed(0)
    client = ClientModule(Casting(), lr=0.1)
    with pytest.raises(ValueError, match=r"lanes at a time .*dtype.*engine=reference train it"):
        CudaEngine().check(client, IMAGE)
    expected, found = [], []
    for engine, updates in ((ReferenceEngine(), expected), (AutoEngine(1), found)):
        engine.setup(client, DATA)
        updates.append(engine.train(client.flat(), Plan(0, LANES)).updates)
    assert torch.allclose(found[0], expected[0], rtol=1e-3, atol=1e-5)


def test_another_loss_is_refused_by_the_engine_that_pads_batches(fresh_choices: None) -> None:
    torch.manual_seed(0)
    client = FocalClient(Residual(), lr=0.1).double()
    with pytest.raises(ValueError, match="plain cross-entropy only"):
        CudaEngine().check(client, IMAGE)
    updates = []
    for engine in (ReferenceEngine(), CpuEngine(1), AutoEngine(1)):
        engine.setup(client, DATA)
        updates.append(engine.train(client.flat(), Plan(0, LANES)).updates)
    assert updates[0].norm() > 0
    for update in updates[1:]:
        assert torch.allclose(update, updates[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("model", "engine", "fault"),
    [
        (BatchNormalized, "cpu", "model: Expected more than 1 value per channel when training"),
        (Noisy, "reference", "model: gives other logits for the same image and weights"),
        (Branching, "cuda", "engine cuda: .*data-dependent control flow"),
        (ByTheBatch, "cpu", r"model: layer 'norm' \(BatchNorm1d\) evaluates an image by those"),
    ],
)
def test_a_refusal_comes_before_anything_runs(
    model: type[nn.Module], engine: str, fault: str
) -> None:
    overrides = ["federation.clients_per_round=2", "task.num_tasks=1", f"engine={engine}"]
    resolved = compose(overrides)
    resolved["model"] = {"name": "mine", "_target_": f"{__name__}.{model.__name__}"}
    with pytest.raises(UserError, match=fault):
        build(resolved, make_dataset([8] * 20))
