"""A cell in MLflow's terms: its parameters, metrics, tags and data set, and their names."""

import json
import math
import re
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import Any

from benchmark.report.naming import joined, said
from benchmark.results.measures import last_fifth
from benchmark.run.curve import SECONDS
from benchmark.run.record import Record
from benchmark.utils.nested import digest, flat

PARAM_CHARACTERS = 6000
DIGEST_CHARACTERS = 36
FIRST = {
    "main_accuracy": "1_main_accuracy",
    "backdoor_in_sample": "2_backdoor_in_sample",
    "backdoor_held_out": "3_backdoor_held_out",
    "source_accuracy_targets": "4_source_accuracy_targets",
    SECONDS: "5_seconds_per_round",
}
"""What is read first: does the model work, is there a backdoor, what do others lose, how long."""
NAME_CHARACTERS = 250
SOURCE = {"mlflow.source.name": "benchmark", "mlflow.source.type": "LOCAL"}

Measurement = tuple[str, int, float | None]
"""A metric's name, its step and its value there."""


@dataclass(frozen=True)
class CellFacts:
    """What is known of a cell before it runs; the fields are :class:`Record`'s."""

    cell: str
    config: dict[str, Any]
    data: dict[str, Any]
    code: dict[str, str]
    seed: int
    overrides: Collection[str]

    @staticmethod
    def of(record: Record) -> "CellFacts":
        """The facts that a record holds."""
        return CellFacts(**{field.name: getattr(record, field.name) for field in fields(CellFacts)})

    def tags(self) -> dict[str, str]:
        """One tag for each group's name (``attack``, ``defense``, …), seed, data and code."""
        groups = {
            group: value["name"]
            for group, value in self.config.items()
            if isinstance(value, dict) and "name" in value
        }
        tags = groups | {"seed": self.seed, "data_hash": self.data.get("hash", "")}
        tags |= {f"code_{key}": value for key, value in self.code.items()}
        return SOURCE | {"kind": "cell", "cell": self.cell} | {k: str(v) for k, v in tags.items()}


def run_name(facts: CellFacts, shared: Collection[str]) -> str:
    """What tells a cell from others: ``norm_clip M = 1 · boosted · s0``.

    Args:
        facts: of the cell.
        shared: overrides that the others have too: told of attack and defense alone.
    """
    chosen: dict[str, dict[str, str]] = {"defense": {}, "attack": {}}
    for override in facts.overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group, _, parameter = key.partition(".")
        is_told = group in chosen or (override not in shared and group != "tracking")
        if is_told and isinstance(facts.config.get(group), dict):
            chosen.setdefault(group, {}).update({parameter: value} if parameter else {})
    parts = []
    for group, explicit in chosen.items():
        name = facts.config[group]["name"]
        resolved = explicit | dict(flat(facts.config[group]))
        words = joined([said(group, key, resolved[key], name) for key in explicit])
        parts.append(f"{name} {words}".strip())
    return " · ".join([*parts, f"s{facts.seed}"])[:NAME_CHARACTERS]


def parameters(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Dotted names, and values as on the command line.

    A value beyond MLflow's 6,000 characters is cut, and says so.
    """
    for key, value in flat(config):
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield allowed(key), cut(text)


def grown(params: Iterable[tuple[str, str]], known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The parameters that are not known; what ``seeds`` has become since is ``seeds 2``.

    MLflow's parameters are final, and a suite grows.
    """
    for name, value in params:
        keys = chain([name], (f"{name} {number}" for number in count(2)))
        key = next(key for key in keys if known.get(key, value) == value)
        if key not in known:
            yield key, value


def measured(round: int, values: Mapping[str, float | None]) -> Iterator[Measurement]:
    """What one round measured, as (name, step, value); the step is the round.

    What is read first is told a second time, numbered: MLflow sorts by name.
    """
    for name, value in values.items():
        yield name, round, value
        if name in FIRST:
            yield FIRST[name], round, value


def metrics(record: Record) -> Iterator[Measurement]:
    """Numbers of a record: what its rounds measured, then what is read first of the whole run.

    That is a mean over the last fifth of the rounds, and the median of a round's seconds, one
    step after the last round: the latest value of a metric is what a run's page shows. A run
    that diverged has none of some, which is NaN.
    """
    seconds, memory = record.cost.round_seconds, record.cost.round_peak_memory_mb
    costs = {SECONDS: seconds, "cost/round_peak_memory_mb": memory}
    rounds = defaultdict[int, dict[str, float | None]](dict)
    for name, curve in record.curves.items():
        for round, value in zip(curve.rounds, curve.values, strict=True):
            rounds[round][name] = value
    for name, values in costs.items():
        for round, value in enumerate(values):
            rounds[round][name] = value
    for round, found in sorted(rounds.items()):
        yield from measured(round, found)
    after = max(rounds, default=-1) + 1
    for name, numbered in FIRST.items():
        if name == SECONDS and seconds:
            yield numbered, after, statistics.median(seconds)
        elif name in record.curves:
            value = last_fifth(record, name)
            yield numbered, after, math.nan if value is None else value


def execution(record: Record) -> str:
    """Tells a run of a cell from another one of the same cell, by what it took."""
    return digest([record.weights_sha256, record.cost.round_seconds], 16)


def outcome_tags(record: Record) -> dict[str, str]:
    """What is known only after the run; MLflow shows the note as the run's description."""
    note = "\n\n".join([f"`{record.command}`", *record.notes])
    return {
        "status": "diverged" if record.diverged else "finished",
        "execution": execution(record),
        "engine": record.cost.engine,
        "device": record.cost.device,
        "precision": record.cost.precision,
        "mlflow.note.content": cut(note),
    }


def suite_note(name: str, params: dict[str, Any]) -> str:
    """A suite's description, as Markdown."""
    rows = [f"| {key} | {value} |" for key, value in parameters(params)]
    return cut("\n".join([f"Suite **{name}**", "", "| parameter | value |", "|---|---|", *rows]))


def dataset(record: Record, partition: Path | None) -> dict[str, str]:
    """The fields of MLflow's ``Dataset``.

    MLflow takes 36 characters of a digest; the whole hash stands in the source.
    """
    data = record.data
    digest, name = str(data.get("hash", "unknown")), str(data.get("name", "unknown"))
    return {
        "name": name,
        "digest": digest[:DIGEST_CHARACTERS],
        "source_type": "local",
        "source": json.dumps({"uri": str(partition or name), "hash": digest}),
        "profile": json.dumps({k: v for k, v in data.items() if k not in ("name", "hash")}),
    }


@lru_cache(maxsize=1)
def git_tags() -> dict[str, str]:
    """The commit that this package is checked out at; nothing where it is installed from a wheel.

    A package inside somebody else's repository must not borrow that one's commit.
    """
    command = ["git", "rev-parse", "HEAD", "HEAD:./__init__.py"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    commit = done.stdout.partition("\n")[0]
    return {} if done.returncode else {"mlflow.source.git.commit": commit}


def allowed(name: str) -> str:
    """``name`` with an underscore for each character that MLflow refuses."""
    return re.sub(r"[^\w/. -]", "_", name)


def cut(text: str) -> str:
    """``text`` within MLflow's limit for a parameter, saying so where it is cut."""
    if len(text) <= PARAM_CHARACTERS:
        return text
    note = f" … cut, {len(text)} characters; whole in record.json"
    return text[: PARAM_CHARACTERS - len(note)] + note
