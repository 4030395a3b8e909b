"""What it would take: how many adversaries bring a backdoor through which defense."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.reproduction import naming
from benchmark.reproduction.evidence import Evidence, Line
from benchmark.reproduction.scores import score
from benchmark.results.gates import SUCCESS
from benchmark.run.record import Record

SUITES = ("fig1_participation", "fig2_norm_bounded", "fig4a_norm_clipping", "fig4b_weak_dp")


@dataclass(frozen=True)
class Threat:
    """One attack on one defense under one participation model.

    Attributes:
        defense, attack, participation: in words.
        users: N, all there are.
        tried: fraction ε of compromised users → mean in-sample backdoor accuracy over the last
            fifth of the rounds, in ascending order; empty where all models collapsed.
    """

    defense: str
    attack: str
    participation: str
    users: int
    tried: dict[float, float]

    @property
    def needed(self) -> float | None:
        """The smallest ε tried that brings the backdoor to ``SUCCESS``; None if none does."""
        return next((e for e, accuracy in self.tried.items() if accuracy >= SUCCESS), None)

    @property
    def told(self) -> str:
        """``needed`` in words."""
        if not self.tried:
            return "unknown: the model collapsed"
        if self.needed is None:
            return f"more than {self._adversaries(max(self.tried))}"
        at_most = "at most " if self.needed == min(self.tried) else ""
        return at_most + self._adversaries(self.needed)

    def _adversaries(self, fraction: float) -> str:
        adversaries = int(fraction * self.users + 0.5)
        return f"{naming.percent(fraction)} ({adversaries} of {self.users} users)"


def threats(evidence: Evidence) -> list[Threat]:
    """All of them, the defenses in the order of the figures.

    ε is the fraction of random sampling, and 1/(f·K) under a fixed frequency. Only lines of the
    profile's number of tasks, without a window and with all seeds count.
    """
    users: dict[tuple[str, str, str], int] = {}
    tried: dict[tuple[str, str, str], dict[float, float]] = defaultdict(dict)
    for line in _lines(evidence):
        records = evidence.of(line)
        if len(records) < len(line.cells) or not _counts(evidence, records[0]):
            continue
        config = records[0].config
        key = (naming.defense(config), naming.attack(config), naming.participation(config))
        users[key] = int(records[0].data["users"])
        scored = score(evidence, line)
        if scored.in_sample is not None:
            tried[key][fraction(records[0])] = scored.in_sample.mean
    defenses = list(dict.fromkeys(defense for defense, _, _ in users))
    keys = sorted(users, key=lambda key: defenses.index(key[0]))
    return [Threat(*key, users[key], dict(sorted(tried[key].items()))) for key in keys]


def fraction(record: Record) -> float:
    """ε, the fraction of users that a run's participation model compromises."""
    chosen = record.config["participation"]
    if "fraction" in chosen:
        return float(chosen["fraction"])
    # Three digits, as the matching fractions of random sampling have them.
    K = record.config["federation"]["clients_per_round"]
    return float(f"{1 / (chosen['frequency'] * K):.3g}")


def _lines(evidence: Evidence) -> Iterator[Line]:
    for suite in SUITES:
        yield from (line for line in evidence.lines.get(suite, ()) if line.cells)


def _counts(evidence: Evidence, record: Record) -> bool:
    config = record.config
    return (
        config["attack"]["name"] != "none"
        and config["participation"].get("window") is None
        and config["task"]["num_tasks"] == evidence.values["tasks"]
    )
