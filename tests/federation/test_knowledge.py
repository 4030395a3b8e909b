"""What a federation tells its attack and its defense."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmark.attacks.base import Attack, AttackContext, CompromisedClient, Knowledge
from benchmark.attacks.boosted import Boosted
from benchmark.defenses.base import Aggregation, DefenseContext
from benchmark.defenses.centered_clipping import CenteredClipping
from benchmark.defenses.mean import Mean
from benchmark.engine.plan import Examples, Lane, Plan
from benchmark.federation.participation import FixedFrequency, RandomSampling
from tests.support.toys import fit, make_federation


class Spy(Attack):
    """Three lanes a client, told apart by their length; submits what it was given."""

    paper = "a test"
    knowledge = Knowledge.DATA

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[Tensor, AttackContext]] = []

    def lanes(self, client: CompromisedClient, backdoor: Examples, boost: float) -> list[Lane]:
        return [client.batches(client.local, e, client.batch_size, f"{e}") for e in (1, 2, 3)]

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        self.given.append((updates.clone(), replace(context, start=context.start.clone())))
        return 100.0 + torch.arange(len(updates))[:, None].expand(-1, updates.shape[2]).to(updates)


class Informed(Spy):
    knowledge = Knowledge.UPDATES


class Adaptive(Spy):
    knowledge = Knowledge.DEFENSE


class KeepUpdates(Mean):
    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        self.seen, self.context = updates.clone(), context
        return super().aggregate(updates, weights, context)


@pytest.mark.parametrize("spy", [Spy, Informed, Adaptive])
def test_an_attack_gets_its_own_lanes_in_order_and_what_its_knowledge_allows(spy: type[Spy]):
    attack, defense = spy(), KeepUpdates()
    federation = make_federation(
        attack=attack,
        defense=defense,
        participation=RandomSampling(0.5),
        clients_per_round=6,
        rounds=1,
    )
    start = federation.theta.detach().clone()
    fit(federation)
    ((updates, context),) = attack.given
    cohort = federation.sample_cohort(0)
    slots = cohort.compromised.nonzero().flatten().tolist()
    assert len(slots) == 3
    assert updates.shape == (3, 3, 226)
    for j, slot in enumerate(slots):
        indices = federation.dataset.train.user(int(cohort.clients[slot]))
        local = Examples(indices, federation.train_labels[indices])
        client = CompromisedClient(local, 2, 4, seed=0, round=0, slot=slot)
        lanes = attack.lanes(client, federation.backdoor, 1.0)
        expected = federation.engine.train(start, Plan(0, lanes)).updates
        assert torch.equal(updates[j], expected)
    assert torch.equal(context.boosts, cohort.boosts)
    assert torch.equal(context.start, start)
    honest = defense.seen[~cohort.compromised]
    if spy.knowledge >= Knowledge.UPDATES:
        assert context.honest_updates is not None
        assert torch.equal(context.honest_updates, honest)
    else:
        assert context.honest_updates is None
    assert (context.simulate is not None) == (spy.knowledge >= Knowledge.DEFENSE)
    # what the server receives: honest rows as trained, compromised ones as crafted, in place
    assert [defense.seen[slot, 0].item() for slot in slots] == [100.0, 101.0, 102.0]
    assert honest.abs().max() < 10


def test_a_defense_never_learns_who_is_compromised():
    defense = KeepUpdates()
    federation = make_federation(attack=Boosted(), defense=defense, rounds=1)
    fit(federation)
    assert torch.equal(defense.context.clients, federation.sample_cohort(0).clients)
    assert set(vars(defense.context)) == {
        "round",
        "seed",
        "theta",
        "clients",
        "layers",
        "root_update",
        "root",
        "workbench",
    }


class Asking(Attack):
    """Asks the defense of its round so often, and submits what it trained."""

    paper = "a test"
    knowledge = Knowledge.DEFENSE

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        assert context.simulate
        for _ in range(self.times):
            context.simulate(100 * updates[:, 0])
            self.answer = context.simulate(updates[:, 0])
        return updates[:, 0]


def test_who_asks_the_defense_is_told_what_it_does_and_leaves_no_trace_in_it():
    """Not in the history of one that remembers, nor in the updates that it then receives."""
    runs = []
    for times in (0, 3):
        attack, defense = Asking(times), CenteredClipping()
        run = make_federation(
            attack=attack, defense=defense, clients_per_round=6, participation=FixedFrequency(1, 2)
        )
        start = run.theta.detach().clone()
        fit(run)
        assert not torch.equal(run.theta, start)
        runs.append(run)
    assert torch.equal(runs[0].theta, runs[1].theta)
    for key, value in runs[0].defense.state_dict().items():
        assert torch.equal(value, runs[1].defense.state_dict()[key])
    assert runs[0].defense.state_dict()


def test_the_answer_is_what_the_server_then_makes_of_it():
    attack = Asking(1)
    run = make_federation(attack=attack, clients_per_round=3, rounds=1)
    start = run.theta.detach().clone()
    fit(run)
    assert torch.allclose(attack.answer.update, run.theta.detach() - start, rtol=1e-12)
