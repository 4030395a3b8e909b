"""A cell in MLflow's terms: its parameters, metrics, tags and data set, and their names."""

import json
import re
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.run.record import Record
from benchmark.utils.nested import flat

PARAM_CHARACTERS = 6000
DIGEST_CHARACTERS = 36
SOURCE = {"mlflow.source.name": "benchmark", "mlflow.source.type": "LOCAL"}


@dataclass(frozen=True)
class CellFacts:
    """What is known of a cell before it runs; the fields are :class:`Record`'s."""

    cell: str
    config: dict[str, Any]
    data: dict[str, Any]
    code: dict[str, str]
    seed: int

    @staticmethod
    def of(record: Record) -> "CellFacts":
        """The facts that a record holds."""
        return CellFacts(record.cell, record.config, record.data, record.code, record.seed)

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


def parameters(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Dotted names, and values as on the command line.

    A value beyond MLflow's 6,000 characters is cut, and says so.
    """
    for key, value in flat(config):
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield allowed(key), cut(text)


def metrics(record: Record) -> Iterator[tuple[str, int, float | None]]:
    """All numbers of a record as (name, step, value); a curve's step is the round."""
    for name, curve in record.curves.items():
        for round, value in zip(curve.rounds, curve.values, strict=True):
            yield name, round, value
    for name, summary in record.summary.items():
        for kind, number in asdict(summary).items():
            yield f"summary/{name}/{kind}", 0, number
    cost = record.cost
    for round, seconds in enumerate(cost.round_seconds):
        yield "cost/round_seconds", round, seconds
    for round, memory in enumerate(cost.round_peak_memory_mb):
        yield "cost/round_peak_memory_mb", round, memory
    if cost.round_seconds:
        yield "cost/median_round_seconds", 0, statistics.median(cost.round_seconds)
    yield "cost/seconds", 0, cost.seconds
    yield "cost/peak_memory_mb", 0, cost.peak_memory_mb


def outcome_tags(record: Record) -> dict[str, str]:
    """What is known only after the run; MLflow shows the note as the run's description."""
    note = "\n\n".join([f"`{record.command}`", *record.notes])
    return {
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
    try:
        for command in ("ls-files --error-unmatch __init__.py", "rev-parse HEAD"):
            done = subprocess.run(
                ["git", *command.split()],
                cwd=Path(__file__).parents[1],
                capture_output=True,
                text=True,
                timeout=5,
                check=True,
            )
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": done.stdout.strip()}


def allowed(name: str) -> str:
    """``name`` with an underscore for each character that MLflow refuses."""
    return re.sub(r"[^\w/. -]", "_", name)


def cut(text: str) -> str:
    """``text`` within MLflow's limit for a parameter, saying so where it is cut."""
    if len(text) <= PARAM_CHARACTERS:
        return text
    note = f" … cut, {len(text)} characters; whole in record.json"
    return text[: PARAM_CHARACTERS - len(note)] + note
