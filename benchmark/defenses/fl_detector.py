"""FLDetector: clients whose updates are not what their last ones predict are excluded for good."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.defenses.base import Aggregation, DefenseContext, DefenseSetting
from benchmark.defenses.clusters import kmeans, num_clusters, random_state
from benchmark.defenses.curvature import LBfgs
from benchmark.defenses.rule import Rule
from benchmark.defenses.submissions import Submissions
from benchmark.utils.checks import at_least

LIMIT = 2**32
"""Numbers that are remembered of the clients: 16 GiB in float32."""
MOST = 7
"""Clusters at most."""
DRAWS = 10
"""References of the gap statistic."""


class FlDetector(Rule):
    """The mean of those who were never caught sending what their last update does not predict.

    With g = −Δ, client i's is predicted as g_i,last + H(θ_t − θ_last), where last is its own last
    round (the paper's clients take part in every one) and H the L-BFGS Hessian of the last N pairs
    of changes of θ and of the aggregated g. The distances ‖predicted − received‖, divided by their
    sum over the cohort, are averaged over a client's last N. When the gap statistic of these scores
    (scaled to [0, 1], squared distances, 10 draws, 7 clusters at most) sees more than one cluster,
    the upper one of 2-means is excluded, now and for good. Judged is from round N + 2 who was there
    before. A pair whose yᵀs is not positive, which could make the matrix singular, is skipped
    (``skipped_pair``). Weighted; the excluded count among the clients of a cohort.

    Cost: KNP, N²P. State: 2 vectors of P for every user and 2N more, kept where the module is;
    beyond 2³² numbers it is refused.

    >>> from benchmark.testing import aggregate
    >>> aggregate("fl_detector", [[1.0], [3.0]]).update
    tensor([2.])

    Args:
        window: N; 3 to 20, 10 in the paper.
        restart: whether training restarts from the initial model, with no memory but of whom is
            excluded, when somebody is (the paper), or goes on.

    Raises:
        ValueError: ``window`` below 1, or too many users times parameters; or as
            :class:`benchmark.defenses.rule.Rule`.
    """

    paper = "Zhang et al. 2022, KDD, arXiv 2207.09209"
    is_weighted = True
    excluded: Tensor
    restarting: Tensor
    initial: Tensor
    visits: Tensor
    rounds_seen: Tensor
    scores: Tensor
    num_scores: Tensor
    updates: Tensor
    models: Tensor
    moves: Tensor
    changes: Tensor
    num_pairs: Tensor
    theta: Tensor
    gradient: Tensor

    def __init__(self, window: int = 10, restart: bool = False):
        super().__init__()
        self.window = at_least("window", 1, window)
        self.restart = restart

    def setup(self, setting: DefenseSetting) -> None:
        """Room for the last round of every user, and for the pairs."""
        super().setup(setting)
        self.users, self.width = setting.num_users, setting.num_parameters
        if 2 * self.users * self.width > LIMIT:
            raise ValueError(
                f"FlDetector remembers 2 updates of each user, at most {LIMIT} numbers in all; "
                f"{self.users} users of {self.width} parameters are too many"
            )
        self.register_buffer("excluded", torch.zeros(self.users, dtype=torch.bool))
        self.register_buffer("restarting", torch.zeros((), dtype=torch.bool))
        self.register_buffer("initial", torch.zeros(self.width if self.restart else 0))
        self._forget(self.register_buffer)

    def _forget(self, put: Callable[[str, Tensor], None]) -> None:
        users, width, N = self.users, self.width, self.window
        for name in ("visits", "num_scores"):
            put(name, torch.zeros(users, dtype=torch.int64))
        for name in ("rounds_seen", "num_pairs"):
            put(name, torch.zeros((), dtype=torch.int64))
        put("scores", torch.zeros(users, N, dtype=torch.float64))
        for name in ("updates", "models"):
            put(name, torch.zeros(users, width))
        for name in ("moves", "changes"):
            put(name, torch.zeros(N, width))
        for name in ("theta", "gradient"):
            put(name, torch.zeros(width))

    def combine(self, received: Submissions) -> Aggregation:
        """Predict, judge, exclude, average, remember."""
        self._as_precise_as(received)
        if self.restart and self.rounds_seen == 0 and not self.excluded.any():
            self.initial = received.context.theta.to(self.initial)
        clients = received.clients.to(self.excluded.device)
        self._score(received, clients)
        caught = self._caught(received, clients)
        self.excluded[caught] = True
        kept = ~self.excluded[clients].to(received.rows.device)
        skipped = 0
        found = received.keeping(kept, excluded=self.excluded.sum())
        if self.restart and len(caught):
            self._forget(lambda name, value: setattr(self, name, value.to(getattr(self, name))))
            self.restarting = torch.ones_like(self.restarting)
        else:
            skipped = self._remember(received, clients, found.update)
        told = {"skipped_pair": torch.tensor(float(skipped), dtype=torch.float64)}
        return Aggregation(found.update, found.trust, {**found.info, **told})

    def after_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """Go back to the initial model when somebody was caught and ``restart`` says so."""
        if not self.restarting:
            return theta
        self.restarting = torch.zeros_like(self.restarting)
        return self.initial.to(theta).clone()

    def _score(self, received: Submissions, clients: Tensor) -> None:
        judged = ~self.excluded[clients] & (self.visits[clients] > 0)
        if self.rounds_seen <= self.window or not judged.any():
            return
        theta, pairs = received.context.theta.to(self.theta), int(self.num_pairs)
        hessian = LBfgs(self.moves[:pairs], self.changes[:pairs])
        apart = torch.zeros(len(clients), dtype=torch.float64, device=clients.device)
        for k in judged.nonzero().flatten().tolist():
            c = int(clients[k])
            moved = (theta - self.models[c]).double()
            expected = self.updates[c].double() + hessian.times(moved)
            apart[k] = (expected + received.rows[k].to(expected)).norm()
        total = apart.sum()
        apart = apart / total if total > 0 else apart
        for k in judged.nonzero().flatten().tolist():
            c = int(clients[k])
            self.scores[c] = torch.cat([apart[k : k + 1], self.scores[c, :-1]])
            self.num_scores[c] += 1

    def _caught(self, received: Submissions, clients: Tensor) -> Tensor:
        there = clients.unique()
        there = there[~self.excluded[there] & (self.num_scores[there] > 0)]
        if self.rounds_seen <= self.window or len(there) < 2:
            return there[:0]
        counted = self.num_scores[there].clamp(max=self.window)
        points = (self.scores[there].sum(dim=1) / counted)[:, None].cpu().numpy()
        where = received.context.seed, received.context.round, "defense clusters"
        count = num_clusters(points, MOST, DRAWS, lambda apart: float((apart**2).sum()), where)
        if count == 1:
            return there[:0]
        labels, centers = kmeans(points, 2, random_state(*where))
        return there[torch.from_numpy(labels == centers[:, 0].argmax()).to(there.device)]

    def _remember(self, received: Submissions, clients: Tensor, update: Tensor) -> bool:
        theta, gradient = received.context.theta.to(self.theta), -update.to(self.gradient)
        skipped = False
        if self.rounds_seen > 0:
            old = slice(max(int(self.num_pairs) + 1 - self.window, 0), int(self.num_pairs))
            moves = torch.cat([self.moves[old], (theta - self.theta)[None]])
            changes = torch.cat([self.changes[old], (gradient - self.gradient)[None]])
            skipped = not LBfgs(moves, changes).is_sound
            if not skipped:
                self.moves[: len(moves)], self.changes[: len(moves)] = moves, changes
                self.num_pairs = torch.full_like(self.num_pairs, len(moves))
        self.theta, self.gradient = theta.clone(), gradient
        for row, client in zip(received.rows, clients.tolist(), strict=True):
            self.updates[client] = -row.to(self.updates)
            self.models[client] = theta
        self.visits[clients] += 1
        self.rounds_seen = self.rounds_seen + 1
        return skipped

    def _as_precise_as(self, received: Submissions) -> None:
        dtype = torch.promote_types(received.rows.dtype, received.context.theta.dtype)
        for name in ("updates", "models", "moves", "changes", "theta", "gradient", "initial"):
            setattr(self, name, getattr(self, name).to(dtype))
