"""Every attack in conf/attack/."""

from benchmark.testing import AttackContract


class TestAttack(AttackContract):
    pass
