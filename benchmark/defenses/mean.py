"""No defense: federated averaging."""

from benchmark.defenses.composed import Composed


class Mean(Composed):
    """FedAvg: Δ = Σ_k w_k Δ_k, with the protocol's uniform or n_k-weighted w.

    Undefended: what is not finite goes into the model, and a run that diverges is a result.
    """

    paper = "McMahan et al. 2017, arXiv 1602.05629, algorithm 1"

    def __init__(self) -> None:
        super().__init__()
