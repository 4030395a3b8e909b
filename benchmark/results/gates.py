"""What a result must keep to count: the thresholds of every table and verdict."""

GATE = 0.05
"""A usable defense keeps its mean main accuracy, unattacked and under every attack, within this
much of the undefended, unattacked model's."""

COLLAPSE = 0.5
"""A model has collapsed when its main accuracy is below this share of that same reference."""

SUCCESS = 0.5
"""An attack succeeds against a defense above this in-sample backdoor accuracy."""

TOLERANCE = 0.02
"""Main accuracy that an attack may cost before it is noticed."""


def floor(reference: float) -> float:
    """The least main accuracy within the gate, the undefended, unattacked one's given."""
    return reference - GATE


def is_below_gate(main: float | None, reference: float) -> bool:
    """Whether a main accuracy is too low to count; an unknown one is not."""
    return main is not None and main < floor(reference)


def has_collapsed(main: float | None, reference: float) -> bool:
    """Whether a main accuracy, None where it is no number, is that of a broken model."""
    return main is None or main < COLLAPSE * reference


def succeeds(in_sample: float) -> bool:
    """Whether an attack with this in-sample backdoor accuracy does."""
    return in_sample > SUCCESS


def is_noticed(cost: float) -> bool:
    """Whether an attack that costs so much main accuracy is."""
    return cost > TOLERANCE
