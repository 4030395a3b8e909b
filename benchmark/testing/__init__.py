"""What is for anybody's tests: contracts that plug-ins pass, and what they do as functions.

Five lines test every attack whose yaml lies in a package's ``conf/attack``; the same with
:class:`DefenseContract` and :class:`TaskContract`. :class:`PluginContract` alone is what any other
plug-in keeps to::

    from pathlib import Path
    from benchmark.testing import AttackContract

    class TestOurAttacks(AttackContract):
        conf = Path(__file__).parents[1] / "conf"

:func:`aggregate` is any defense on arrays, :func:`craft` any attack, :func:`stamp` any trigger;
none of them needs pytest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmark.testing.crafting import craft
from benchmark.testing.functions import aggregate
from benchmark.testing.stamping import stamp

if TYPE_CHECKING:
    from benchmark.testing.attacks import AttackContract
    from benchmark.testing.defenses import DefenseContract
    from benchmark.testing.plugin import PluginContract
    from benchmark.testing.tasks import TaskContract

_MODULES = {
    "AttackContract": "attacks",
    "DefenseContract": "defenses",
    "PluginContract": "plugin",
    "TaskContract": "tasks",
}
__all__ = [
    "AttackContract",
    "DefenseContract",
    "PluginContract",
    "TaskContract",
    "aggregate",
    "craft",
    "stamp",
]


def __getattr__(name: str) -> Any:
    """The contracts, which need pytest."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    import pytest

    pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _MODULES.values()))
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
