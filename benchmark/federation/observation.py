"""What a round shows beside accuracy: loss, norms, and what the defense made of whom."""

import math

from benchmark.federation.cohort import Cohort
from benchmark.federation.reception import Reception


def observed(cohort: Cohort, received: Reception) -> dict[str, float]:
    """Metrics of a round by name, those that are finite.

    Args:
        cohort: of K clients.
        received: what they sent, and what the defense made of it.
    """
    compromised, aggregation = cohort.compromised, received.aggregation
    length, losses = received.lengths, received.losses
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
