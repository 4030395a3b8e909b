"""One class is to be read as another, whoever wrote it: labels are flipped, images stay."""

from benchmark.tasks.pooled import PooledTask


class LabelFlipBackdoor(PooledTask):
    """The adversary's images of class s get label t: y = t where y = s.

    A compromised client can flip all of its own. The backdoor is held out on everybody's test
    images of class s.

    Args:
        num_tasks: users whose images make up D_mal.
        source_class: s; Tolpegin et al. flip 5 → 3, 0 → 2 and 1 → 9 of CIFAR-10.
        target_class: t.
        most_tested: of the held-out images.

    Raises:
        ValueError: as :class:`PooledTask`.
    """

    paper = "Tolpegin et al. 2020, arXiv 2007.08432"

    def __init__(
        self,
        num_tasks: int = 5,
        source_class: int = 7,
        target_class: int = 1,
        most_tested: int = 1000,
    ):
        super().__init__(num_tasks, target_class, source_class, most_tested)
