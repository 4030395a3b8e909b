"""No adversary: what every attack is compared with."""

from benchmark.attacks.base import Attack


class NoAttack(Attack):
    """Nobody is compromised, whatever the participation says."""

    paper = "McMahan et al. 2017, arXiv 1602.05629 (FedAvg)"
    active = False
