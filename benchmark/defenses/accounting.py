"""The ε of noise on sums over clients who are drawn at random, by the package dp-accounting."""

import math
from functools import cache
from typing import Any

MISSING = "the package dp-accounting is missing: pip install 'fedbackdoor[privacy]'"
LEAST = 0.01
"""Noise from which on a multiplier is looked for; below it accountants overflow."""

Answer = tuple[float | None, str]
"""What was asked for and nothing more to say, or None and why it is unknown."""


@cache
def epsilon(
    num_users: int,
    clients_per_round: int,
    multiplier: float,
    rounds: int,
    delta: float | None = None,
) -> Answer:
    """ε of T rounds with K of N clients, drawn without replacement.

    By Rényi divergences; one client is replaced by another.

    Args:
        num_users: N.
        clients_per_round: K.
        multiplier: the noise's standard deviation by how far replacing one client moves the sum.
        rounds: T.
        delta: δ; by default N^(−1.1).
    """
    if num_users < 2:
        return None, "there is nobody else"
    try:
        accountant = _accountant()
    except ImportError:
        return None, MISSING
    accountant.compose(_rounds(num_users, clients_per_round, multiplier, rounds))
    found = float(accountant.get_epsilon(delta or num_users**-1.1))
    return (found, "") if math.isfinite(found) else (None, "no bound was found")


@cache
def calibrated(
    num_users: int, clients_per_round: int, target: float, rounds: int, delta: float | None = None
) -> Answer:
    """The multiplier whose :func:`epsilon` is ``target``; seconds for thousands of clients."""
    if num_users < 2:
        return None, "there is nobody else"
    try:
        accountant = _accountant
        accountant()
    except ImportError:
        return None, MISSING
    import dp_accounting as dp

    def event(multiplier: float) -> Any:
        return _rounds(num_users, clients_per_round, multiplier, rounds)

    bracket = dp.LowerEndpointAndGuess(LEAST, 1.0)
    try:
        delta = delta or num_users**-1.1
        return float(dp.calibrate_dp_mechanism(accountant, event, target, delta, bracket)), ""
    except (ValueError, dp.mechanism_calibration.NoBracketIntervalFoundError):
        return None, "no multiplier was found"


def _accountant() -> Any:
    import dp_accounting as dp
    from dp_accounting.rdp import RdpAccountant

    return RdpAccountant(neighboring_relation=dp.NeighboringRelation.REPLACE_ONE)


def _rounds(num_users: int, clients_per_round: int, multiplier: float, rounds: int) -> Any:
    import dp_accounting as dp

    noise = dp.GaussianDpEvent(multiplier)
    drawn = dp.SampledWithoutReplacementDpEvent(num_users, clients_per_round, noise)
    return dp.SelfComposedDpEvent(drawn, rounds)
