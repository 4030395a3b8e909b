"""CRFL: clip and blur the global model in training, let noisy copies of it vote in the end."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from benchmark.defenses.base import Aggregation, DefenseContext, DefenseSetting, Part
from benchmark.defenses.blocks import row_norms
from benchmark.defenses.noise import standard_normal
from benchmark.defenses.streamed import Streamed, tally
from benchmark.defenses.submissions import Submissions, seen
from benchmark.engine.base import Predict
from benchmark.utils.checks import at_least, positive


class Crfl(Streamed):
    """θ ← θ · min(1, ρ_t/‖θ‖) + N(0, σ² I) after the server's step, ρ_t = min(ρ, a·t + c).

    t counts from 1; in the last round there is no noise. What is deployed and measured is the
    clipped model before the noise; after the last round it answers by the votes of M copies
    θ + N(0, σ_T² I), whose shares are the scores (ties to the lower class). Updates are averaged,
    weighted, as they come. The paper's certificate is none for these networks and is not claimed.
    Cost: P a round; M evaluations of the test images after the last.

    >>> clip(torch.tensor([3.0, 4.0]), 2.5)
    tensor([1.5000, 2.0000])

    Args:
        model_bound: ρ, in units of the model's norm; 1 to 100. 15 in the paper's code for MNIST,
            100 for EMNIST.
        start: c; 2 and 4 there, for its networks. Ours begin with norms of 13 (``small``) and 18,
            and at c = 2 learn nothing: a bound far below the model's norm stops it.
        growth: a, a round; 0.1 and 0.25 there.
        noise: σ, a standard deviation; 1e-4 to 0.05, 0.01 in the paper.
        vote_noise: σ_T, of the copies; 0.01 in the paper.
        copies: M; 20 to 1,000. 1,000 in the paper, which takes 19 s with ``small`` and 1,000 test
            images on two busy cores: 200 here, a fifth of that. 0: the model itself answers.

    Raises:
        ValueError: a number out of its range.
    """

    paper = "Xie et al. 2021, ICML, arXiv 2106.08283"
    is_weighted = True

    def __init__(
        self,
        model_bound: float = 15.0,
        start: float = 10.0,
        growth: float = 0.1,
        noise: float = 0.01,
        vote_noise: float = 0.01,
        copies: int = 200,
    ):
        super().__init__()
        self.model_bound, self.start = (
            positive("model_bound", model_bound),
            positive("start", start),
        )
        for name, value in {"growth": growth, "noise": noise, "vote_noise": vote_noise}.items():
            if not 0 <= value < torch.inf:
                raise ValueError(f"{name} must be at least 0 and finite, got {value}")
        self.growth, self.noise, self.vote_noise = growth, noise, vote_noise
        self.copies = at_least("copies", 0, copies)

    def setup(self, setting: DefenseSetting) -> None:
        """Remember how many rounds there are."""
        super().setup(setting)
        self.rounds = setting.rounds

    def look(self, received: Submissions) -> Part:
        """The weighted mean."""
        return tally(received, received.mean())

    def conclude(self, found: Part, context: DefenseContext) -> Aggregation:
        """Nothing more."""
        return seen(found.aggregation.update)

    def after_round(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """Clip; blur unless it was the last round."""
        bound = min(self.model_bound, self.growth * (context.round + 1) + self.start)
        # Made in every round before it is asked for: nothing of it has to be saved.
        self.clipped = clip(theta, bound)
        if self._is_last(context):
            return self.clipped
        return blurred(self.clipped, self.noise, context, "defense noise")

    def deployed(self, theta: Tensor, context: DefenseContext) -> Tensor:
        """The model before the noise."""
        return self.clipped

    def predictor(self, deployed: Tensor, context: DefenseContext) -> Predict:
        """The model, or after the last round the votes of its copies."""
        bench = context.workbench
        assert bench
        if not self._is_last(context) or self.copies == 0:
            return bench.predictor(deployed)

        def vote(images: Tensor) -> Tensor:
            votes = torch.zeros((), dtype=torch.int64)
            for copy in range(self.copies):
                theta = blurred(deployed, self.vote_noise, context, f"copy {copy}")
                scores = bench.predictor(theta)(images)
                votes = votes + one_hot(scores.argmax(dim=1), scores.shape[1]).cpu()
            return votes / self.copies

        return vote

    def _is_last(self, context: DefenseContext) -> bool:
        return context.round + 1 == self.rounds


def clip(theta: Tensor, bound: float) -> Tensor:
    """θ · min(1, ρ/‖θ‖) of ``(P,)``; 0 stays."""
    length = float(row_norms(theta[None]))
    return theta * min(1.0, bound / length) if length > 0 else theta.clone()


def blurred(theta: Tensor, std: float, context: DefenseContext, purpose: str) -> Tensor:
    """θ + N(0, std² I), drawn for a purpose in a round."""
    return theta.add(standard_normal(theta, context, purpose), alpha=std)
