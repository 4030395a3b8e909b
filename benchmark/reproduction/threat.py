"""What it would take: how many adversaries bring a backdoor through which defense."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from benchmark.report.document import Block, Heading, Paragraph, Table
from benchmark.report.naming import in_full, share, title
from benchmark.reproduction.chapters import ordered
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.lines import Labeled, labeled
from benchmark.results.curves import points
from benchmark.results.gates import SUCCESS, succeeds
from benchmark.results.settings import UNATTACKED, UNDEFENDED
from benchmark.run.record import Record


@dataclass(frozen=True)
class Threat:
    """One attack on one defense under one participation model.

    Attributes:
        defense, attack, participation: as reports call them.
        users: N, all there are.
        is_defended: whether there is a defense.
        tried: fraction ε of compromised users → mean in-sample backdoor accuracy over the last
            fifth of the rounds; empty where models collapsed or diverged.
    """

    defense: str
    attack: str
    participation: str
    users: int
    is_defended: bool
    tried: dict[float, float] = field(default_factory=dict)

    @property
    def needed(self) -> float | None:
        """The smallest ε tried at which the attack succeeds; None if none does."""
        return min((e for e, accuracy in self.tried.items() if succeeds(accuracy)), default=None)

    @property
    def told(self) -> str:
        """``needed`` in words."""
        if not self.tried:
            return "unknown: the model collapsed or diverged"
        if self.needed is None:
            return f"more than {self._adversaries(max(self.tried))}"
        at_most = "at most " if self.needed == min(self.tried) else ""
        return at_most + self._adversaries(self.needed)

    def _adversaries(self, fraction: float) -> str:
        adversaries = int(fraction * self.users + 0.5)
        return f"{share(fraction)} ({adversaries} of {self.users} users)"


def threats(evidence: Evidence) -> list[Threat]:
    """All of them, the defenses in the order of the chapters.

    Only lines of the profile's number of tasks, without a window and with all seeds count.
    """
    found: dict[tuple[str, str, str], Threat] = {}
    for suite in ordered(evidence.lines):
        for line in labeled(evidence, suite):
            if not line.records or line.missing or not _counts(evidence, line):
                continue
            config = line.records[0].config
            key = (
                in_full("defense", config["defense"]),
                in_full("attack", config["attack"]),
                title("participation", config["participation"]["name"]),
            )
            users, defended = line.records[0].data["users"], config["defense"]["name"] != UNDEFENDED
            threat = found.setdefault(key, Threat(*key, int(users), defended))
            if in_sample := line.mean("backdoor_in_sample"):
                # The first that tried it counts, and not what varies something else.
                threat.tried.setdefault(fraction(line.records[0]), in_sample.mean)
    defenses = list(dict.fromkeys(defense for defense, _, _ in found))
    return sorted(found.values(), key=lambda threat: defenses.index(threat.defense))


def section(found: Sequence[Threat]) -> list[Block]:
    """How many adversaries it takes."""
    head = ["defense", "attack", "participation", "adversaries needed"]
    rows = [[each.defense, each.attack, each.participation, each.told] for each in found]
    told = Paragraph(
        "The smallest share of compromised users tried with which mean in-sample backdoor "
        f"accuracy over the last fifth of the rounds reaches {100 * SUCCESS:g} %. One "
        "compromised client every f rounds stands for a share of 1/(f·K) with K clients a "
        'round. "At most": no smaller share was tried; "more than": the largest tried does '
        "not reach it."
    )
    table: list[Block] = [told, Table.of(head, rows, words=4)]
    return [
        Heading(2, "What would it take"),
        *(table if found else [Paragraph("No runs to tell it from.")]),
    ]


def fraction(record: Record) -> float:
    """ε, the fraction of users that a run's participation model compromises.

    1/(f·K) under a fixed frequency; under a model that states neither, the share of the cohorts
    that was compromised.
    """
    chosen, K = record.config["participation"], record.config["federation"]["clients_per_round"]
    if "fraction" in chosen:
        return float(chosen["fraction"])
    compromised = points(record, "num_compromised").values()
    a_round = 1 / chosen["frequency"] if "frequency" in chosen else fmean(compromised)
    # Three digits, as the matching fractions of random sampling have them.
    return float(f"{a_round / K:.3g}")


def _counts(evidence: Evidence, line: Labeled) -> bool:
    assert line.config
    tasks = evidence.values["tasks"]
    is_attacked = line.config["attack"]["name"] != UNATTACKED
    as_many = line.config["task"].get("num_tasks", tasks) == tasks
    return is_attacked and as_many and not line.window
