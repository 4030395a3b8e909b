"""The client: flat parameters, and plain Lightning training equal to an engine's lane."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmark.engine.client import ClientModule
from benchmark.engine.cpu import CpuEngine
from benchmark.engine.plan import Lane, Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.testing.toys import make_dataset
from tests.support.toys import fit, tiny_client


def test_parameters_go_to_one_vector_and_back():
    client = tiny_client()
    theta = torch.arange(client.num_parameters, dtype=torch.float64)
    client.load(theta)
    assert torch.equal(client.flat(), theta)
    assert client.num_parameters == 226
    parts = client.split(theta)
    places = {layer.name: layer.place for layer in client.layers}
    for name, parameter in client.model.named_parameters():
        assert torch.equal(parts[name], parameter)
        assert torch.equal(theta[places[name]], parameter.flatten())


def test_the_flat_vector_is_a_copy():
    client = tiny_client()
    before = client.flat()
    client.flat().zero_()
    assert torch.equal(client.flat(), before)


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(1), nn.InstanceNorm2d(1, track_running_stats=True)]
)
def test_running_statistics_are_no_parameters(layer: nn.Module):
    client = ClientModule(nn.Sequential(layer, nn.Flatten(), nn.Linear(784, 10)), lr=0.1)
    affine = sum(p.numel() for p in layer.parameters())
    assert client.num_parameters == affine + 7850
    assert client.statistics().tolist() == [0, 1]
    client.load_statistics(torch.tensor([2.0, 3.0]))
    assert client.statistics().tolist() == [2, 3]
    assert [buffer.tolist() for buffer in (layer.running_mean, layer.running_var)] == [[2], [3]]


@pytest.mark.parametrize("layer", [nn.GroupNorm(1, 1), nn.InstanceNorm2d(1, affine=True)])
def test_normalization_of_each_image_by_itself_is_welcome(layer: nn.Module):
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(784, 10))
    assert ClientModule(model, lr=0.1).num_parameters == 2 + 7850


def test_normalization_by_the_batch_is_refused_where_it_evaluates():
    model = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten())
    with pytest.raises(ValueError, match=r"layer '0' \(BatchNorm2d\) evaluates .*track_running"):
        ClientModule(model, lr=0.1)


def test_dropout_that_cannot_be_repeated_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 2, 28), nn.Dropout2d(0.5), nn.Flatten())
    with pytest.raises(ValueError, match=r"layer '1' \(Dropout2d\) draws from .*use nn.Dropout"):
        ClientModule(model, lr=0.1)


@pytest.mark.parametrize("lr", [0.0, -0.1])
def test_a_learning_rate_is_positive(lr: float):
    with pytest.raises(ValueError, match="client_lr must be positive"):
        ClientModule(nn.Linear(2, 2), lr=lr)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("engine", [ReferenceEngine(), CpuEngine(workers=1)])
def test_fitting_one_client_with_a_trainer_equals_an_engines_lane(
    engine: ReferenceEngine | CpuEngine, dropout: float
):
    dataset = make_dataset([6, 11, 5])
    client = tiny_client(dropout)
    client.dropout_seed = 9
    start = client.flat()

    indices = torch.cat([dataset.train.user(1), torch.zeros(1, dtype=torch.int64)]).view(3, 4)
    lane = Lane(
        indices=indices.repeat(2, 1),
        labels=dataset.train.labels[indices].repeat(2, 1),
        sizes=(4, 4, 3) * 2,
        epoch_ends=(False,) * 6,
        dropout_seed=9,
    )
    engine.setup(client, dataset.train)
    update = engine.train(start, Plan(0, [lane])).updates[0]

    # pixels are 0 and 1, exact in float32
    images, labels = dataset.train.pixels(dataset.train.user(1)).double(), dataset.train.labels
    batches = list(zip(images.split(4), labels[dataset.train.user(1)].split(4), strict=True))
    assert [len(labels) for _, labels in batches] == [4, 4, 3]
    fit(client, DataLoader(batches, batch_size=None), epochs=2)
    moved = client.flat() - start
    assert moved.norm() > 0
    assert (moved - update).norm() <= 1e-10 * update.norm()
