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
