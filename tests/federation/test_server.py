"""The server's own data and lane, and its say on what is broadcast, deployed and answers."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.attacks.boosted import Boosted
from benchmark.data.root import hold_out_root
from benchmark.defenses.base import Aggregation, DefenseContext
from benchmark.defenses.mean import Mean
from benchmark.engine.base import Predict
from benchmark.engine.plan import Lane, LocalClient, Plan
from benchmark.engine.reference import ReferenceEngine
from benchmark.engine.workbench import Workbench
from benchmark.run.recorder import Checkpoint, Recorder
from benchmark.tasks.writer_backdoor import WriterBackdoor
from benchmark.testing.toys import make_dataset
from tests.support.toys import fit, make_federation, tiny_client

SIZES = (12, 30, 7, 25, 18, 40)


def test_root_data_are_taken_from_the_users_and_nobodys_any_more() -> None:
    before = make_dataset()
    after = hold_out_root(before, 50, seed=3)
    assert after.root is not None
    assert len(after.train) == len(before.train) == sum(SIZES)
    left = after.train.offsets.diff()
    assert left.sum() == sum(SIZES) - 50
    assert (left >= 1).all()
    assert after.root.tolist() == list(range(sum(SIZES) - 50, sum(SIZES)))
    # The same images, each once, and those that a user kept are still that user's.
    rows = [image.flatten().tolist() for image in before.train.images]
    owner = {tuple(row): u for u in range(6) for row in [rows[i] for i in before.train.user(u)]}
    arranged = [tuple(image.flatten().tolist()) for image in after.train.images]
    assert sorted(arranged) == sorted(map(tuple, rows))
    for user in range(6):
        assert {owner[arranged[i]] for i in after.train.user(user)} == {user}
    classes = [int(n) for n in str(after.facts["root_classes"]).split()]
    assert classes == after.train.labels[after.root].bincount(minlength=10).tolist()
    assert after.facts["root_images"] == 50
    assert after.facts["root_users"] == int((left < torch.tensor(SIZES)).sum())
    assert torch.equal(after.test.images, before.test.images)
    again, other = hold_out_root(before, 50, seed=3), hold_out_root(before, 50, seed=4)
    assert torch.equal(after.train.images, again.train.images)
    assert not torch.equal(after.train.images, other.train.images)


def test_every_user_keeps_an_image_and_those_who_give_none_keep_all() -> None:
    most = hold_out_root(make_dataset(), sum(SIZES) - 6, seed=0)
    assert most.train.offsets.diff().tolist() == [1] * 6
    with pytest.raises(ValueError, match="root_images must be 0 to 126 here"):
        hold_out_root(make_dataset(), sum(SIZES) - 5, seed=0)
    spared = hold_out_root(make_dataset(), 20, seed=0, without=torch.tensor([1, 5]))
    assert spared.train.offsets.diff()[[1, 5]].tolist() == [30, 40]


def test_whether_target_users_are_in_it_is_chosen_and_recorded() -> None:
    plain = make_federation()
    owned = len(plain.task.examples(plain.dataset, "train"))
    for wanted in ("all", "not_targets"):
        federation = make_federation(root_images=50, root_from=wanted)
        left = len(federation.task.examples(federation.dataset, "train"))
        assert federation.dataset.facts["root_backdoor_images"] == owned - left
        assert (owned - left > 0) == (wanted == "all")
        assert federation.task.target_users.tolist() == plain.task.target_users.tolist()


def test_a_root_that_leaves_the_adversary_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="every image of the adversary's"):
        make_federation(task=WriterBackdoor(num_tasks=1), root_images=124)


class Rooted(Mean):
    """Moves by the server's own update, and remembers what it was told."""

    needs_root_data = True

    def server_lane(self, server: LocalClient) -> Lane:
        return server.honest_lane()

    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        self.seen, self.context = updates.clone(), context
        assert context.root_update is not None
        return Aggregation(context.root_update.clone())


def test_the_server_trains_on_its_own_data_beside_the_clients() -> None:
    federation = make_federation(defense=Rooted(), root_images=30, rounds=1)
    start = federation.theta.detach().clone()
    fit(federation)
    root = federation.dataset.root
    assert root is not None
    context = federation.defense.context
    assert torch.equal(context.root.indices, root)
    assert torch.equal(context.root.labels, federation.dataset.train.labels[root])
    assert federation.defense.seen.shape == (3, 226)
    lane = federation.local(0, 3, root).honest_lane()
    assert set(lane.indices.flatten().tolist()) <= {0, *root.tolist()}
    (expected,) = federation.engine.train(start, Plan(0, [lane])).updates
    assert torch.equal(context.root_update, expected)
    assert torch.equal(federation.theta, start + expected)


def test_the_attack_does_not_get_the_servers_lane() -> None:
    attacked = make_federation(attack=Boosted(), defense=Rooted(), root_images=30, rounds=1)
    fit(attacked)
    assert attacked.defense.seen.shape == (3, 226)
    _, plan = attacked.prepare(0)
    assert plan.server is not None
    assert plan.lanes[-1] is plan.server
    updates, own = plan.parted(torch.arange(float(len(plan.lanes)))[:, None])
    assert len(updates) == len(plan.lanes) - 1
    assert own is not None
    assert own.item() == len(plan.lanes) - 1


class Told(Mean):
    """Sends twice the model, deploys a tenth, and remembers where θ stood at each hook."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, Tensor, Tensor]] = []

    def _note(self, hook: str, theta: Tensor, context: DefenseContext) -> None:
        self.told.append((hook, theta.clone(), context.theta.clone()))

    def before_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        self._note("before", theta, context)
        return 2 * theta

    def after_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        self._note("after", theta, context)
        assert (context.round, context.seed) == (len(self.told) // 3, 0)
        return theta

    def deployed(self, theta: Tensor, context: DefenseContext) -> Tensor:
        self._note("deployed", theta, context)
        return theta / 10


def test_the_clients_begin_with_what_is_broadcast_and_the_step_is_added_to_it() -> None:
    federation = make_federation(defense=Told(), rounds=2)
    start = federation.theta.detach().clone()
    fit(federation)
    hooks = [hook for hook, _, _ in federation.defense.told]
    assert hooks == ["before", "after", "deployed"] * 2
    (_, first, _), (_, stepped, sent), (_, deployed, _), (_, second, _), *_ = (
        federation.defense.told
    )
    assert torch.equal(first, start)
    assert torch.equal(sent, 2 * start)
    _, plan = federation.prepare(0)
    expected = 2 * start + federation.engine.train(2 * start, plan).updates.mean(dim=0)
    assert (stepped - expected).norm() <= 1e-12 * expected.norm()
    assert torch.equal(deployed, stepped)
    assert torch.equal(second, stepped)
    assert torch.equal(federation.result, federation.theta / 10)


def test_after_a_round_the_server_still_knows_what_it_began_with() -> None:
    class Back(Mean):
        """Undoes every round."""

        def after_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
            return context.theta

    federation = make_federation(defense=Back(), rounds=2)
    start = federation.theta.detach().clone()
    fit(federation)
    assert torch.equal(federation.theta, start)


def test_what_is_deployed_is_kept_by_a_checkpoint(tmp_path: Any) -> None:
    one, done = make_federation(defense=Told(), rounds=2), make_federation(defense=Told(), rounds=2)
    fit(one, callbacks=[Checkpoint(tmp_path, "a cell", every=1)])
    fit(done, callbacks=[kept := Checkpoint(tmp_path, "a cell", 1)], resume=kept.usable())
    assert not done.defense.told
    assert torch.equal(done.result, one.result)
    plain = make_federation(rounds=2)
    fit(plain)
    assert torch.equal(plain.result, plain.theta)


class Answering(Mean):
    """Says class 3 whatever it sees."""

    def predictor(self, deployed: Tensor, context: DefenseContext) -> Predict:
        return lambda images: torch.eye(10)[3].expand(len(images), 10)


def test_what_answers_is_what_is_measured() -> None:
    federation, recorder = make_federation(defense=Answering(), rounds=1), Recorder()
    fit(federation, callbacks=[recorder])
    share = (federation.dataset.test.labels == 3).double().mean().item()
    assert recorder.curves["main_accuracy"].values == [share]


class Short(Mean):
    """Honest clients train for one epoch, whatever the protocol says."""

    def honest_lane(self, client: LocalClient) -> Lane:
        return replace(client, epochs=1).honest_lane()


def test_honest_clients_train_as_the_defense_asks_and_compromised_ones_as_they_please() -> None:
    federation = make_federation(attack=Boosted(), defense=Short(), rounds=1)
    fit(federation)
    cohort, plan = federation.prepare(0)
    assert cohort.compromised.any()
    for slot, lane in enumerate(plan.lanes[:3]):
        n = len(federation.dataset.train.user(int(cohort.clients[slot])))
        if not cohort.compromised[slot]:
            assert sum(lane.sizes) == n
        else:
            assert sum(lane.sizes) > n


def test_a_workbench_evaluates_and_differentiates_with_weights_of_ones_own() -> None:
    data, client, engine = make_dataset().train, tiny_client(), ReferenceEngine()
    engine.setup(client, data)
    bench = Workbench(client, engine, data)
    theta = client.flat() * 1.5
    indices = torch.arange(9)
    images = bench.pixels(indices, torch.float64)
    labels = data.labels[indices]
    logits = bench.predictor(theta)(images)
    features = bench.features(theta, images)
    assert features.shape == (9, 8)
    parts = client.split(theta)
    again = features @ parts["layers.6.weight"].T + parts["layers.6.bias"]
    assert (again - logits).abs().max() <= 1e-12
    hidden = bench.activations(theta, images, "layers.3.weight")
    assert (hidden.tanh() - features).abs().max() <= 1e-12
    loss, gradient = bench.gradient(theta, images, labels)
    assert loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-12
    )
    direction = torch.randn(len(theta), generator=torch.Generator().manual_seed(0)).double()
    ahead, _ = bench.gradient(theta + 1e-6 * direction, images, labels)
    behind, _ = bench.gradient(theta - 1e-6 * direction, images, labels)
    slope = (ahead - behind) / 2e-6
    assert slope.item() == pytest.approx((gradient @ direction).item(), rel=1e-6)
