"""Every defense in conf/defense/."""

from benchmark.testing import DefenseContract


class TestDefense(DefenseContract):
    pass
