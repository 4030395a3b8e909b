"""What a study found: ``tuning.json`` for programs, and a document that says the same to people."""

import json
import shlex
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.figure import Figure

from benchmark.report.document import (
    Block,
    Code,
    Column,
    Document,
    Entry,
    Heading,
    Mark,
    Only,
    Paragraph,
    Picture,
    Table,
    Text,
)
from benchmark.report.numbers import NOTHING
from benchmark.report.output import write
from benchmark.results.searches import SCHEMA_VERSION
from benchmark.results.trials import Trial, Trials
from benchmark.tuning.federations import MEASURED_ON
from benchmark.utils.files import write_json

NAME = "tuning"
FOOTER = (
    "Written by ",
    Mark("python -m benchmark tune", "code"),
    "; the files beside this page hold the same as JSON.",
)
PICTURES = {
    "history": "Every finished trial and the best so far, on the tuning seeds: optimistic, and "
    "only there to see whether the search still gains. Gray: a constraint was missed.",
    "importances": "How much of what trials reached each parameter explains (PED-ANOVA): rough "
    "where few trials had it.",
    "parallel": "A line for each finished trial, from what it reached to its parameters.",
    "slices": "What trials reached against each parameter that was varied.",
}
"""What Optuna draws of a study, and what it shows."""


@dataclass(frozen=True)
class TuningReport(ABC):
    """What a study, or all studies of a race, found.

    Attributes:
        heading, run_it: of the document, and above the command that runs what was found.
        study: its name.
        storage: its URL, without a password.
        overrides: what the study was given: the defense, the protocol.
        description: all that makes the study this one.
    """

    heading: ClassVar[str]
    run_it: ClassVar[str]
    study: str
    storage: str
    overrides: tuple[str, ...]
    description: dict[str, Any]

    @property
    @abstractmethod
    def chosen(self) -> tuple[str, ...] | None:
        """What was found, with whom it is held against and a fresh seed; None if nothing was."""

    @property
    def command(self) -> str | None:
        """One federation with what was found, on the test half of the users."""
        if self.chosen is None:
            return None
        words = [*self.overrides, f"{MEASURED_ON}=test", *self.chosen]
        return "python -m benchmark run " + shlex.join(words)

    @abstractmethod
    def verdict(self) -> str:
        """The result in a sentence or two; settings stand between backquotes."""

    @abstractmethod
    def blocks(self) -> list[Block]:
        """The content of the document, but for how to run what was found."""

    def draw(self) -> Figure:
        """The document's own picture, where it has one."""
        raise NotImplementedError

    def plain(self) -> dict[str, Any]:
        """As plain values."""
        given = {key: getattr(self, key) for key in ("study", "storage", "overrides")}
        given["overrides"] = list(self.overrides)
        return {"schema_version": SCHEMA_VERSION, **given, "description": self.description}

    def write(
        self, folder: Path, studies: Sequence[Trials] = (), drawn: Sequence[Path] = ()
    ) -> list[Path]:
        """Write the report for programs, as Markdown and as a page that shows all trials too.

        Args:
            folder: of the study.
            studies: with all trials, a table for each.
            drawn: what Optuna drew of them.

        Returns:
            The files.
        """
        write_json(folder / f"{NAME}.json", self.plain())
        pngs = {path.stem: path for path in drawn}
        run: list[Block] = []
        if self.command is not None:
            run = [Paragraph(f"{self.run_it}:"), Code(self.command)]
        all_trials = Only("page", [*_pictures(sorted(pngs)), *_trials(studies)])
        title = f"{self.heading}: {self.study}"
        document = Document(title, [*self.blocks(), *run, all_trials], footer=FOOTER)
        paths = write(
            document,
            folder,
            NAME,
            lambda name: pngs[name].read_bytes() if name in pngs else self.draw(),
        )
        kinds = (".md", ".png", ".html")
        return [folder / f"{NAME}.json", *sorted(paths, key=lambda path: kinds.index(path.suffix))]


def coded(text: str) -> Text:
    """Words, with what stands between backquotes as code."""
    return tuple(Mark(part, "code") if i % 2 else part for i, part in enumerate(text.split("`")))


def _pictures(names: Sequence[str]) -> Iterator[Block]:
    if names:
        yield Heading(2, "Pictures")
    for name in names:
        yield Picture(name, name, PICTURES[name])


def _trials(studies: Sequence[Trials]) -> Iterator[Block]:
    """A table of all trials for each study."""
    if studies:
        yield Heading(2, "All trials", "trials")
        yield Paragraph(
            "On the tuning seeds. A trial that was pruned ran fewer rounds than the others and has "
            "no result."
        )
    for study in studies:
        if len(studies) > 1:
            yield Heading(3, study.name)
        yield _table(study.trials)


def _table(trials: Sequence[Trial]) -> Table[Trial]:
    width = max((len(trial.values) for trial in trials), default=0)
    values = ["Value"] if width == 1 else [f"Value {i + 1}" for i in range(width)]
    names = sorted({name for trial in trials for name in trial.params})
    columns: list[Column[Trial]] = [
        Column("Trial", lambda trial: Entry(str(trial.number), trial.number)),
        Column("State", _state, is_number=False),
        *(Column(head, partial(_value, i), descending=True) for i, head in enumerate(values)),
        *(Column(name, partial(_parameter, name), is_number=False) for name in names),
    ]
    return Table(columns, trials, is_quiet=lambda trial: not _counts(trial), is_sortable=True)


def _counts(trial: Trial) -> bool:
    return trial.state == "complete" and trial.feasible


def _state(trial: Trial) -> str:
    missed = trial.state == "complete" and not trial.feasible
    return f"{trial.state}, constraint missed" if missed else trial.state


def _value(index: int, trial: Trial) -> Entry:
    if index >= len(trial.values):
        return Entry(NOTHING)
    return Entry(f"{trial.values[index]:.4g}", trial.values[index])


def _parameter(name: str, trial: Trial) -> str:
    if name not in trial.params:
        return ""
    value = trial.params[name]
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
