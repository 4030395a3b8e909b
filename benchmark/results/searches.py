"""What searches found against defenses: the ``tuning.json`` of each study, and whose it is."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from benchmark.config.schema import Check, Schema, some
from benchmark.results.settings import GROUPS
from benchmark.results.statistics import Estimate, difference, estimate
from benchmark.run.cell import NOT_IN_THE_RESULT
from benchmark.run.record import Record, choices

SCHEMA_VERSION = 1
"""Of the files that are read here."""

IGNORED = (*NOT_IN_THE_RESULT, "federation.measured_on")
"""Keys that may differ between a search and the runs that it completes: a search is on one half
of the users and is judged on the other, a leaderboard's runs are measured on all."""


@dataclass(frozen=True)
class Winner:
    """The attacker that a search found, on seeds and users that the search never saw.

    Attributes:
        attack: its label.
        overrides, command: of the attack; of one of its runs, an ordinary cell.
        in_sample: backdoor accuracy on the adversary's own images.
        cost: main accuracy that it costs beside no attack, paired by seed.
        fixed_attack, fixed: the strongest attack that nobody tuned on the same seeds and users,
            and its in-sample backdoor accuracy; None if none keeps main accuracy.
        gain: ``in_sample`` minus ``fixed``, paired by seed.
    """

    attack: str
    overrides: list[str]
    command: str
    in_sample: Estimate
    cost: Estimate
    fixed_attack: str | None
    fixed: Estimate | None
    gain: Estimate | None


@dataclass(frozen=True)
class Tuned:
    """A search for the strongest attacker against a defense.

    Attributes:
        study: its name.
        report: file that tells of it, relative to the leaderboard.
        trials, seeds, sampler: the budget: attackers tried, federations of each, and by whom they
            were chosen.
        pruned: those of the trials that were given up before their last round.
        fresh_seeds: that the winner was run on.
        winner: None if no attacker kept main accuracy.
        searches, searched: how many there are against this defense, of which this one got most
            through, and the trials of them all.
        is_stale: whether the runs that it completes were made with other source files.
    """

    study: str
    report: str
    trials: int
    pruned: int
    seeds: int
    sampler: str
    fresh_seeds: list[int]
    winner: Winner | None
    searches: int = 1
    searched: int = 0
    is_stale: bool = False

    @property
    def reached(self) -> float:
        """The winner's mean in-sample backdoor accuracy, −1 without one."""
        return -1.0 if self.winner is None else self.winner.in_sample.mean


@dataclass(frozen=True)
class Search:
    """A search for the strongest attacker.

    Attributes:
        setting: what it has in common with the runs that it completes, see :func:`setting`.
        tuned: what it found.
        code: of its cells, by attack: fingerprints of their source files.
    """

    setting: str
    tuned: Tuned
    code: dict[str, str]


def setting(config: Mapping[str, Any], data_hash: Any) -> str:
    """Everything but attack and seed that a result depends on, the defense included."""
    groups = {
        group: {k: v for k, v in config[group].items() if f"{group}.{k}" not in IGNORED}
        for group in (*GROUPS, "defense")
    }
    return json.dumps([groups, data_hash], sort_keys=True, default=str)


def find(searches: Iterable[Search], records: Sequence[Record]) -> Tuned | None:
    """The search that got most through the defense of some records, in their setting.

    Args:
        searches: all there are.
        records: of one defense, under whatever attacks; at least one.
    """
    wanted = setting(records[0].config, records[0].data.get("hash"))
    found = [search for search in searches if search.setting == wanted]
    if not found:
        return None
    best = max(found, key=lambda s: (s.tuned.reached, s.tuned.trials, s.tuned.study))
    return replace(
        best.tuned,
        searches=len(found),
        searched=sum(search.tuned.trials for search in found),
        is_stale=any(_is_other(best, record) for record in records),
    )


def _is_other(search: Search, record: Record) -> bool:
    """Whether a record's attack was other code when it was searched."""
    ran = record.code.get("fingerprint")
    return search.code.get(f"attack={record.config['attack']['name']}", ran) != ran


@dataclass(frozen=True)
class Described:
    """What a study was about."""

    problem: str


@dataclass(frozen=True)
class DescribedAttacker(Described):
    """What a search for attackers was about."""

    configuration: Annotated[dict[str, Any], choices((*GROUPS, "defense"))]
    data: str
    code: dict[str, str]
    seeds: list[int]
    sampler: str


@dataclass(frozen=True)
class Attempt:
    """A trial."""

    pruned: bool


@dataclass(frozen=True)
class Judgement:
    """An attacker on fresh seeds: backdoor accuracy and cost of main accuracy by seed."""

    overrides: Annotated[list[str], Check(some)]
    backdoor: Annotated[dict[int, float], Check(some)]
    cost: Annotated[dict[int, float], Check(some)]


@dataclass(frozen=True)
class AnyStudy:
    """What every ``tuning.json`` holds."""

    description: Described
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class AttackerStudy:
    """What is read of the ``tuning.json`` of a search for attackers."""

    study: str
    description: DescribedAttacker
    trials: list[Attempt]
    fresh_seeds: list[int]
    strongest_fixed: Judgement | None
    winner: Judgement | None
    command: str | None


MEND = "the same `tune` command writes it again, and without it the leaderboard does without"
REFUSAL = "no result of a study"


def read(results: Path) -> list[Search]:
    """All searches for attackers among results.

    Raises:
        UserError: a ``tuning.json`` is damaged, or of another schema.
    """
    found = []
    for path in sorted(results.glob("tuning-*/tuning.json")):
        if Schema(AnyStudy, REFUSAL, MEND, "ignore").read(path).description.problem != "attacker":
            continue
        study = Schema(AttackerStudy, REFUSAL, MEND, "ignore").read(path)
        told = study.description
        # Where no trial was finished nothing was searched.
        if study.trials:
            where = setting(told.configuration, told.data)
            found.append(Search(where, _tuned(study, path), told.code))
    return found


def _tuned(found: AttackerStudy, path: Path) -> Tuned:
    return Tuned(
        study=found.study,
        report=f"../{path.parent.name}/tuning.html",
        trials=len(found.trials),
        pruned=sum(trial.pruned for trial in found.trials),
        seeds=len(found.description.seeds),
        sampler=found.description.sampler,
        fresh_seeds=found.fresh_seeds,
        winner=None if found.winner is None else _winner(found, found.winner),
    )


def _winner(study: AttackerStudy, found: Judgement) -> Winner:
    beside = study.strongest_fixed
    in_sample, cost = estimate(found.backdoor), estimate(found.cost)
    assert in_sample
    assert cost
    return Winner(
        attack=_label(found.overrides),
        overrides=found.overrides,
        command=str(study.command),
        in_sample=in_sample,
        cost=cost,
        fixed_attack=None if beside is None else _label(beside.overrides),
        fixed=None if beside is None else estimate(beside.backdoor),
        gain=None if beside is None else estimate(difference(found.backdoor, beside.backdoor)),
    )


def _label(overrides: Sequence[str]) -> str:
    """As a leaderboard names attacks: ``attack=a attack.b=1`` is ``a (b=1)``."""
    (name, *parameters) = (override.removeprefix("attack").lstrip(".=") for override in overrides)
    return f"{name} ({', '.join(sorted(parameters))})" if parameters else name
