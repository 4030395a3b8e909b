"""Every participation in conf/participation/."""

import torch
from torch import Tensor

from benchmark.federation.participation import Participation
from benchmark.testing import PluginContract
from benchmark.testing.toys import seeded

N = 200


def cohort(round: int) -> Tensor:
    return torch.randperm(N, generator=seeded(round))[:50]


class TestParticipation(PluginContract):
    group = "participation"

    def set_up(self, name: str) -> Participation:
        participation = self.build(name)
        participation.setup(N, seed=0)
        return participation

    def test_it_marks_places_of_the_cohort(self, name: str):
        participation = self.set_up(name)
        marked = 0
        for round in range(30):
            clients = cohort(round)
            mask = participation.compromised(round, clients)
            assert mask.shape == clients.shape
            assert mask.dtype == torch.bool
            assert torch.equal(clients, cohort(round))
            marked += int(mask.sum())
        assert marked > 0

    def test_it_is_deterministic_and_needs_no_history(self, name: str):
        torch.manual_seed(1)
        in_order = [self.set_up(name).compromised(t, cohort(t)) for t in range(10)]
        torch.manual_seed(2)
        once = self.set_up(name)
        backwards = [once.compromised(t, cohort(t)) for t in reversed(range(10))][::-1]
        assert all(torch.equal(a, b) for a, b in zip(in_order, backwards, strict=True))

    def test_nobody_is_compromised_outside_its_window(self, name: str):
        participation = self.set_up(name)
        participation.window = [10, 20]
        marked = [t for t in range(40) if participation.compromised(t, cohort(t)).any()]
        assert marked
        assert min(marked) >= 10
        assert max(marked) < 20
