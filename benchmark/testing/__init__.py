"""The contracts that attacks and defenses pass: ours, and those of somebody's own package.

Five lines test every attack whose yaml lies in a package's ``conf/attack``; the same with
:class:`DefenseContract`. :class:`PluginContract` alone is what any other plug-in keeps to::

    from pathlib import Path
    from benchmark.testing import AttackContract

    class TestOurAttacks(AttackContract):
        conf = Path(__file__).parents[1] / "conf"
"""

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{n}" for n in ("plugin", "attacks", "defenses")))

from benchmark.testing.attacks import AttackContract  # noqa: E402
from benchmark.testing.defenses import DefenseContract  # noqa: E402
from benchmark.testing.plugin import PluginContract  # noqa: E402

__all__ = ["AttackContract", "DefenseContract", "PluginContract"]
