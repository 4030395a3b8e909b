"""What a federation reports of a round."""

import json

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor

from benchmark.attacks.base import AttackContext
from benchmark.attacks.boosted import Boosted
from benchmark.attacks.norm_bounded import NormBounded
from benchmark.defenses.norm_reject import NormReject
from benchmark.federation.contract import DivergedError
from benchmark.federation.participation import FixedFrequency, RandomSampling
from benchmark.run.recorder import Recorder
from tests.federation.test_knowledge import KeepUpdates
from tests.support.toys import fit, make_federation, tiny_client


def test_norms_and_judgments_are_reported_apart_for_honest_and_compromised():
    recorder = Recorder()
    federation = make_federation(
        attack=Boosted(epochs=20),
        defense=NormReject(1.0),
        participation=FixedFrequency(2),
        rounds=4,
        client_lr=0.05,
    )
    fit(federation, callbacks=[recorder])
    curves = recorder.curves
    assert curves["num_compromised"].values == [0, 1, 0, 1]
    assert curves["compromised_norm_max"].rounds == [1, 3]
    assert min(curves["compromised_norm_max"].values) > 1.0
    assert max(curves["honest_norm_max"].values) < 1.0
    assert curves["true_positive_rate"].rounds == [1, 3]
    assert curves["true_positive_rate"].values == [1, 1]
    assert curves["false_positive_rate"].values == [0] * 4
    assert curves["rejected_fraction"].values == pytest.approx([0, 1 / 3, 0, 1 / 3])
    assert curves["all_rejected"].values == [0.0] * 4


def test_reported_norms_and_loss_are_those_of_the_updates():
    recorder, defense = Recorder(), KeepUpdates()
    federation = make_federation(attack=Boosted(), defense=defense, rounds=1, clients_per_round=5)
    start = federation.theta.detach().clone()
    fit(federation, callbacks=[recorder])
    norms = sorted(defense.seen[:4].norm(dim=1).tolist())
    values = {name: curve.values[0] for name, curve in recorder.curves.items()}
    assert values["honest_norm_median"] == pytest.approx((norms[1] + norms[2]) / 2)
    assert values["honest_norm_max"] == pytest.approx(norms[3])
    assert values["compromised_norm_max"] == pytest.approx(defense.seen[4].norm().item())
    plan = federation.plan(0, federation.sample_cohort(0))
    losses = federation.engine.train(start, plan).losses
    assert values["train_loss"] == pytest.approx(losses[:4].mean().item())


def test_callbacks_of_lightning_find_the_metrics():
    recorder, stopping = Recorder(), EarlyStopping("train_loss", mode="min", patience=1)
    stopping.stopping_threshold = 100.0  # any loss is good enough
    federation = make_federation(rounds=3)
    fit(federation, callbacks=[recorder, stopping])
    found = federation.trainer.callback_metrics
    assert {name: curve.values for name, curve in recorder.curves.items()} == {
        name: [pytest.approx(value.item())] for name, value in found.items()
    }


@pytest.mark.parametrize("share", ["loss", "honest_norm_max"])
def test_a_round_without_honest_clients_reports_none_of_them(share: str):
    recorder = Recorder()
    federation = make_federation(
        attack=NormBounded(norm_bound=0.1), participation=RandomSampling(1.0), rounds=1
    )
    fit(federation, callbacks=[recorder])
    assert recorder.curves["num_compromised"].values == [3]
    assert not any(share in name for name in recorder.curves)


def test_metrics_are_of_the_global_model_after_the_servers_step_with_dropout_off():
    recorder = Recorder()
    federation = make_federation(client=tiny_client(0.5), rounds=2, evaluate_every=5)
    fit(federation, callbacks=[recorder])
    client, test = tiny_client(0.5), federation.dataset.test
    client.load(federation.theta.detach())
    predicted = client.model.eval()(test.pixels(torch.arange(len(test)), torch.float64)).argmax(1)
    expected = (predicted == test.labels).double().mean().item()
    assert recorder.curves["main_accuracy"].rounds == [1]
    assert recorder.curves["main_accuracy"].values == pytest.approx([expected])


class Poison(Boosted):
    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        return torch.full_like(updates[:, 0], float("nan"))


def test_a_model_that_would_not_be_finite_ends_the_run_with_a_reason():
    federation = make_federation(attack=Poison())
    with pytest.raises(
        DivergedError, match=r"round 0: .* 0 honest and 1 compromised clients submitted"
    ) as end:
        fit(federation)
    assert end.value.honest == []
    cohort = federation.sample_cohort(0)
    assert end.value.compromised == cohort.clients[cohort.compromised].tolist()
    assert federation.theta.isfinite().all()
    recorder = Recorder()
    fit(make_federation(attack=Poison(), defense=NormReject(10.0)), recorder)
    json.dumps(recorder.state_dict(), allow_nan=False)
