"""What a round shows beside accuracy: loss, norms, and what the defense made of whom."""

import math

from torch import Tensor

from benchmark.defenses.base import Aggregation, norms
from benchmark.federation.cohort import Cohort


def observed(
    cohort: Cohort, losses: Tensor, updates: Tensor, aggregation: Aggregation
) -> dict[str, float]:
    """Metrics of a round by name, those that are finite.

    Args:
        cohort: of K clients.
        losses: of the lanes, the first K the clients' own.
        updates: ``(K, P)``, as the server received them.
        aggregation: what the defense made of them.
    """
    compromised = cohort.compromised
    length, losses = norms(updates).cpu(), losses[: len(compromised)].cpu()
    metrics = {
        "train_loss": losses[~compromised].mean().item(),
        "num_compromised": float(compromised.sum()),
    }
    if not compromised.all():
        honest = length[~compromised]
        metrics["honest_norm_median"] = honest.quantile(0.5).item()
        metrics["honest_norm_max"] = honest.max().item()
    if compromised.any():
        metrics["compromised_norm_max"] = length[compromised].max().item()
    metrics |= {name: float(value) for name, value in aggregation.info.items()}
    if aggregation.trust is not None:
        rejected = aggregation.trust.cpu() == 0
        metrics["all_rejected"] = float(rejected.all())
        if compromised.any():
            metrics["true_positive_rate"] = rejected[compromised].double().mean().item()
        if not compromised.all():
            metrics["false_positive_rate"] = rejected[~compromised].double().mean().item()
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
