"""What a line of a figure is called: the field's symbols for what varies in its suite."""

from dataclasses import dataclass, replace

from benchmark.report import naming
from benchmark.report.naming import as_number, varying
from benchmark.reproduction.chapters import chapter
from benchmark.reproduction.evidence import Evidence, Line
from benchmark.results.settings import UNATTACKED
from benchmark.run.record import Record


@dataclass(frozen=True)
class Labeled:
    """A line of a figure.

    Attributes:
        line: of the suite, or of another that is compared with it.
        column: heading of the panels that it is drawn in; empty where there is one column.
        label: its name among the lines of its column.
        name: its name in the suite.
        ordered: whether it lies on an axis of numbers, such as f or M.
    """

    line: Line
    column: str
    label: str
    name: str
    ordered: bool = False

    @property
    def is_attacked(self) -> bool:
        """Whether somebody is compromised in it."""
        return chosen_by(self.line).get("attack") != UNATTACKED


def labeled(evidence: Evidence, suite: str) -> list[Labeled]:
    """The lines of a suite's figure, each with its name."""
    lines = evidence.lines[suite]
    chosen = [chosen_by(line) for line in lines]
    varied = varying(chosen)
    found = []
    for line, choices in zip(lines, chosen, strict=True):
        parts = naming.parts(choices, varied)
        column, label = "", ", ".join(parts.values())
        name = label
        if "participation" in varied:
            column = naming.title("participation", choices.get("participation", ""))
        elif len(parts) > 1:
            column, *rest = parts.values()
            label = ", ".join(rest)
        if not name:
            label = name = _in_full(evidence, line)
        found.append(Labeled(line, column, label, name))
    if key := chapter(suite).compares:
        found = _beside(evidence, suite, key, found)
    return [replace(each, ordered=_is_ordered(each, found)) for each in found]


def chosen_by(line: Line) -> dict[str, str]:
    """``{"attack": "none"}`` for the choice ``attack=none``."""
    return {key: value for key, _, value in (choice.partition("=") for choice in line.choices)}


def _in_full(evidence: Evidence, line: Line) -> str:
    """The name of a line that is alone in its suite."""
    records = evidence.of(line)
    if not records:
        return ", ".join(line.choices) or "all"
    return ", ".join(naming.in_full(g, records[0].config[g]) for g in ("attack", "defense"))


def _beside(evidence: Evidence, suite: str, key: str, own: list[Labeled]) -> list[Labeled]:
    """Own lines, each followed by those that differ from it in the compared key alone."""
    others = {
        tuple(line.cells): line for s, ls in evidence.lines.items() if s != suite for line in ls
    }
    found = []
    for each in own:
        records = evidence.of(each.line)
        twins = [
            line
            for line in others.values()
            if records and (there := evidence.of(line)) and _differ(records[0], there[0], key)
        ]
        for line in [*twins, each.line]:
            told = _said(evidence.of(line), key)
            name = f"{each.name}, {told}" if len(own) > 1 else told or each.name
            found.append(Labeled(line, "", name, name))
    return found


def _said(records: list[Record], key: str) -> str:
    if not records:
        return ""
    group, _, parameter = key.partition(".")
    section = records[0].config[group]
    return naming.said(group, parameter, section[parameter], section["name"])


def _differ(one: Record, other: Record, key: str) -> bool:
    """Whether the compared key, and nothing else that was chosen, tells two runs apart."""
    ignored = {"seed", "engine", "tracking", "device"}
    flat = [
        {
            f"{group}.{name}": value
            for group, section in record.config.items()
            if group not in ignored
            for name, value in section.items()
        }
        for record in (one, other)
    ]
    return varying(flat) == {key}


def _is_ordered(each: Labeled, all_of_them: list[Labeled]) -> bool:
    """Whether one number tells the lines of its column apart."""
    column = [chosen_by(other.line) for other in all_of_them if other.column == each.column]
    keys = varying(column)
    values = [chosen.get(key, "") for chosen in column for key in keys]
    return len(keys) == 1 and None not in map(as_number, values)
