"""A suite's chapter of the report: what ``report:`` of its yaml says."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from benchmark.report.naming import declared


@dataclass(frozen=True)
class Chapter:
    """``report:`` of a suite's yaml; every key may be left out.

    Attributes:
        title: short; by default the name of the yaml.
        about: what it is about, in one line.
        place: among the other chapters, by number; those without one come last, by name.
        called: what its runs are called beside those of other suites; by default the title.
        readings: what may be meant in several ways, where its claims have a ``reading``.
    """

    title: str = ""
    about: str = ""
    place: float = math.inf
    called: str = ""
    readings: str = ""


def chapter(suite: str) -> Chapter:
    """A suite's; also of one whose yaml is not there any more."""
    found = declared(Chapter, "reproduction", suite)
    return replace(found, title=found.title or suite.replace("_", " ").capitalize())


def ordered(suites: Iterable[str]) -> list[str]:
    """Suites in the order of the report."""
    return sorted(suites, key=lambda suite: (chapter(suite).place, suite))
