"""Flower, extra ``fedbackdoor[flower]``: a defense as a strategy there, a strategy as one here."""

try:
    import flwr  # noqa: F401
except ImportError as error:
    raise ImportError("benchmark.flower needs Flower: pip install 'fedbackdoor[flower]'") from error

from benchmark.flower.strategy import DefenseStrategy, strategy

__all__ = ["DefenseStrategy", "strategy"]
