"""The table of runs to a leaderboard: pure, and independent of the order of the records."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmark.leaderboard.board import Leaderboard, Matchup, Run, Section
from benchmark.leaderboard.ranking import rank_attacks, rank_defenses
from benchmark.results import gates
from benchmark.results.searches import Search, Tuned, find
from benchmark.results.settings import UNATTACKED, UNDEFENDED, Setting, split_by_setting
from benchmark.results.statistics import Estimate, difference, estimate
from benchmark.results.table import by_seed, known, runs
from benchmark.run.record import Record
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("last_fifth", "final")
PAIR = ["attack", "defense"]
HONEST = "source_accuracy_targets"


def build(
    records: list[Record], name: str = "leaderboard", searches: Sequence[Search] = ()
) -> Leaderboard:
    """Rank defenses and attacks.

    Args:
        records: results of cells, in any order; runs of different settings may be mixed.
        name: of the suite; the title of what is written.
        searches: for attackers; those against other defenses or in other settings are left out.

    Raises:
        UserError: there are no records, or two of them are the same run.
    """
    if not records:
        raise UserError(
            f"{name}: no records to make a leaderboard of; "
            f"`python -m benchmark suite {name}` makes them"
        )
    table = runs(records, measures=MEASURES)
    sections = []
    for setting, own in split_by_setting(records):
        rows = table[table["cell"].isin([record.cell for record in own])]
        by_defense = {str(d): set(same["cell"]) for d, same in rows.groupby("defense")}
        tuned = {
            defense: found
            for defense, cells in by_defense.items()
            if (found := find(searches, [r for r in own if r.cell in cells]))
        }
        sections.append(_section(setting, rows, tuned))
    return Leaderboard(name, sections)


def _section(setting: Setting, table: "pd.DataFrame", tuned: dict[str, Tuned]) -> Section:
    _refuse_twins(table)
    attacks, unattacked = _labels(table, "attack", UNATTACKED)
    defenses, undefended = _labels(table, "defense", UNDEFENDED)
    seeds = sorted({int(seed) for seed in table["seed"]})
    met = {pair: rows.sort_values("seed") for pair, rows in table.groupby(PAIR)}

    def faced(attack: str | None, defense: str | None) -> "pd.DataFrame":
        return met.get((attack, defense), table.iloc[:0])

    sound = faced(unattacked, undefended)
    reference = estimate(by_seed(sound, "main_accuracy", "last_fifth"))
    cells = [
        _cell((a, d), faced(a, d), faced(unattacked, d), sound, seeds, reference)
        for d in defenses
        for a in attacks
    ]
    return Section(
        setting=setting,
        unattacked=unattacked,
        undefended=undefended,
        reference=reference,
        floor=None if reference is None else gates.floor(reference.mean),
        seeds=seeds,
        attacks=attacks,
        defenses=defenses,
        defense_rows=rank_defenses(cells, unattacked, reference, tuned),
        attack_rows=rank_attacks(cells, unattacked, undefended, reference),
        cells=cells,
        environment={
            fact: sorted(set(table[fact].dropna())) for fact in ("engine", "device", "precision")
        },
        notes=_notes(table),
    )


def _refuse_twins(table: "pd.DataFrame") -> None:
    for (attack, defense, seed), rows in table.groupby([*PAIR, "seed"]):
        if len(rows) > 1:
            one, other = rows["record"][:2]
            raise UserError(
                f"{one} and {other} are both {attack} against {defense} with seed {seed}: "
                "keep one of them"
            )


def _labels(table: "pd.DataFrame", group: str, plain: str) -> tuple[list[str], str | None]:
    """All of a group, those of the plug-in ``plain`` in front; the foremost if it is one."""
    names = dict(zip(table[group], table[f"{group}.name"], strict=True))
    labels = sorted(names, key=lambda x: (names[x] != plain, names[x], _natural(x)))
    return labels, labels[0] if names[labels[0]] == plain else None


def _natural(label: str) -> list[tuple[float, str]]:
    """So that ``norm_bound=3`` stands before ``norm_bound=10``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(float(p), "") if i % 2 else (0.0, p) for i, p in enumerate(parts)]


def _cell(
    pair: tuple[str, str],
    table: "pd.DataFrame",
    plain: "pd.DataFrame",
    sound: "pd.DataFrame",
    seeds: list[int],
    reference: Estimate | None,
) -> Matchup:
    def over_seeds(metric: str, measure: str = "last_fifth") -> Estimate | None:
        return estimate(by_seed(table, metric, measure))

    def more(one: "pd.DataFrame", other: "pd.DataFrame", metric: str) -> Estimate | None:
        sides = (by_seed(rows, metric, "last_fifth") for rows in (one, other))
        return estimate(difference(*sides))

    return Matchup(
        attack=pair[0],
        defense=pair[1],
        main=over_seeds("main_accuracy"),
        in_sample=over_seeds("backdoor_in_sample"),
        held_out=over_seeds("backdoor_held_out"),
        final_main=over_seeds("main_accuracy", "final"),
        final_in_sample=over_seeds("backdoor_in_sample", "final"),
        final_held_out=over_seeds("backdoor_held_out", "final"),
        lift=more(table, plain, "backdoor_in_sample"),
        lift_held_out=more(table, plain, "backdoor_held_out"),
        cost=more(sound, table, HONEST),
        seconds=known(table["seconds_per_round"].median()),
        runs=[_run(row, reference) for row in table.to_dict("records")],
        missing=sorted(set(seeds) - set(table["seed"])),
    )


def _run(row: dict[Any, Any], reference: Estimate | None) -> Run:
    main = known(row.get("main_accuracy.last_fifth"))
    return Run(
        cell=row["cell"],
        seed=row["seed"],
        record=row["record"],
        mlflow_run_id=known(row["mlflow_run_id"]),
        command=row["command"],
        main=main,
        in_sample=known(row.get("backdoor_in_sample.last_fifth")),
        held_out=known(row.get("backdoor_held_out.last_fifth")),
        below_gate=reference is not None and gates.is_below_gate(main, reference.mean),
    )


def _notes(table: "pd.DataFrame") -> list[str]:
    counted = Counter(note for told in table["notes"].dropna() for note in set(told.split("\n")))
    notes = [f"{note} ({counted[note]} of {len(table)} runs)" for note in sorted(counted)]
    versions = sorted(set(table["code_version"].dropna()))
    if len(versions) > 1:
        notes.append(f"Made by more than one version of the code: {', '.join(versions)}.")
    return notes
