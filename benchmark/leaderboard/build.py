"""The table of runs to a leaderboard: pure, and independent of the order of the records."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.config.ensemble import complete
from benchmark.leaderboard.board import Leaderboard, Matchup, Run, Section, counted
from benchmark.leaderboard.ranking import rank_attacks, rank_defenses
from benchmark.results.gates import GATE
from benchmark.results.searches import Search, find
from benchmark.results.settings import UNATTACKED, UNDEFENDED, split_by_setting
from benchmark.results.statistics import Estimate, difference, estimate
from benchmark.results.table import FINISHED, by_seed, known, runs
from benchmark.run.record import BACKDOOR, Record
from benchmark.utils.errors import UserError, program

if TYPE_CHECKING:
    import pandas as pd

MEASURES = ("last_fifth", "final")
PAIR = ["attack", "defense"]
MAIN, HONEST = "main_accuracy", "source_accuracy_targets"
SCORES = {"main": MAIN, "in_sample": "backdoor_in_sample", "held_out": "backdoor_held_out"}
"""Score of a run → its metric."""


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
            f"{name}: no records to make a leaderboard of; `{program()} suite {name}` makes them"
        )
    table = runs(records, measures=MEASURES)
    sections = []
    for setting, own in split_by_setting(records):
        rows = table[table["cell"].isin([record.cell for record in own])]
        _refuse_twins(rows)
        labels = dict(zip(rows["cell"], rows["defense"], strict=True))
        tuned = {
            defense: found
            for defense in set(labels.values())
            if (found := find(searches, [r for r in own if labels[r.cell] == defense]))
        }
        ranked, other = rows[rows["goal"] == BACKDOOR], rows[rows["goal"] != BACKDOOR]
        attacks, unattacked = _labels(ranked, "attack", UNATTACKED)
        defenses, undefended = _labels(ranked, "defense", UNDEFENDED)
        seeds = sorted({int(seed) for seed in ranked["seed"]})
        nothing = (unattacked, undefended)
        cells, reference = _cells(ranked, attacks, defenses, nothing, seeds)
        untargeted = _untargeted(rows, other, nothing)
        ensemble = complete(attacks)
        sections.append(
            Section(
                setting=setting,
                unattacked=unattacked,
                undefended=undefended,
                reference=reference,
                seeds=seeds,
                partitions=_partitions(rows),
                attacks=attacks,
                defenses=defenses,
                defense_rows=rank_defenses(cells, unattacked, reference, tuned, ensemble),
                attack_rows=rank_attacks(cells, unattacked, undefended, reference),
                cells=cells,
                untargeted=untargeted,
                ensemble=ensemble.name if ensemble else None,
                environment={
                    fact: sorted(set(rows[fact].dropna()))
                    for fact in ("engine", "device", "precision")
                },
                notes=_notes(rows, [*cells, *untargeted]),
            )
        )
    return Leaderboard(name, sections)


def _refuse_twins(table: "pd.DataFrame") -> None:
    twins = table[table.duplicated([*PAIR, "seed"], keep=False)].sort_values([*PAIR, "seed"])
    if len(twins):
        (one, other), found = twins["record"][:2], twins.iloc[0]
        raise UserError(
            f"{one} and {other} are both {found['attack']} against {found['defense']} with seed "
            f"{found['seed']}: keep one of them"
        )


def _labels(table: "pd.DataFrame", group: str, plain: str) -> tuple[list[str], str | None]:
    """All of a group, those of the plug-in ``plain`` in front; the foremost if it is one."""
    names = dict(zip(table[group], table[f"{group}.name"], strict=True))
    labels = sorted(names, key=lambda x: (names[x] != plain, names[x], _natural(x)))
    return labels, labels[0] if labels and names[labels[0]] == plain else None


def _natural(label: str) -> list[tuple[float, str]]:
    """So that ``norm_bound=3`` stands before ``norm_bound=10``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(float(p), "") if i % 2 else (0.0, p) for i, p in enumerate(parts)]


def _cells(
    table: "pd.DataFrame",
    attacks: list[str],
    defenses: list[str],
    nothing: tuple[str | None, str | None],
    seeds: list[int],
) -> tuple[list[Matchup], Estimate | None]:
    """The matrix, and the main accuracy of the undefended, unattacked model."""
    met = {pair: rows.sort_values("seed") for pair, rows in table.groupby(PAIR)}
    # A model that diverged is no reference for others.
    sound = met.get(nothing, table.iloc[:0])
    sound = sound[sound["status"] == FINISHED]

    def cell(attack: str, defense: str) -> Matchup:
        own = met.get((attack, defense), table.iloc[:0])
        plain = met.get((nothing[0], defense), table.iloc[:0])

        def more(one: "pd.DataFrame", other: "pd.DataFrame", metric: str) -> dict[int, float]:
            return difference(*(by_seed(rows, metric, "last_fifth") for rows in (one, other)))

        loss = more(sound, own, MAIN)
        return Matchup(
            attack=attack,
            defense=defense,
            **{
                f"{prefix}{name}": estimate(by_seed(own, metric, measure))
                for measure, prefix in zip(MEASURES, ("", "final_"), strict=True)
                for name, metric in SCORES.items()
            },
            lift=estimate(more(own, plain, SCORES["in_sample"])),
            lift_held_out=estimate(more(own, plain, SCORES["held_out"])),
            loss=estimate(loss),
            cost=estimate(more(sound, own, HONEST)),
            seconds=known(own["seconds_per_round"].median()),
            runs=[_run(row, loss) for row in own.to_dict("records")],
            missing=sorted(set(seeds) - set(own["seed"])),
        )

    matrix = [cell(attack, defense) for defense in defenses for attack in attacks]
    return matrix, estimate(by_seed(sound, MAIN, "last_fifth"))


def _untargeted(
    table: "pd.DataFrame", own: "pd.DataFrame", nothing: tuple[str | None, str | None]
) -> list[Matchup]:
    """The cells of untargeted attacks, which are compared with those of nobody."""
    attacks, _ = _labels(own, "attack", UNATTACKED)
    defenses, _ = _labels(own, "defense", UNDEFENDED)
    seeds = sorted({int(seed) for seed in own["seed"]})
    return _cells(table, attacks, defenses, nothing, seeds)[0]


def _run(row: dict[Any, Any], loss: Mapping[int, float]) -> Run:
    def whole(name: str) -> int | None:
        value = known(row[name])
        return None if value is None else int(value)

    return Run(
        cell=row["cell"],
        seed=row["seed"],
        record=row["record"],
        mlflow_run_id=known(row["mlflow_run_id"]),
        command=row["command"],
        **{name: known(row.get(f"{metric}.last_fifth")) for name, metric in SCORES.items()},
        seconds=known(row["seconds_per_round"]),
        diverged_round=whole("diverged_round"),
        all_rejected=whole("all_rejected_rounds"),
        below_gate=row["goal"] == BACKDOOR and loss.get(row["seed"], 0.0) > GATE,
    )


def _partitions(table: "pd.DataFrame") -> int:
    columns = [name for name in ("partition.seed", "data.hash") if name in table]
    return len(table[columns].drop_duplicates())


def _notes(table: "pd.DataFrame", cells: list[Matchup]) -> list[str]:
    found = Counter(note for told in table["notes"].dropna() for note in set(told.split("\n")))
    notes = [f"{note} ({found[note]} of {len(table)} runs)" for note in sorted(found)]
    for cell in cells:
        seeds = [
            f"{run.seed} ({counted(run.all_rejected, 'round')})"
            for run in cell.runs
            if run.all_rejected
        ]
        if seeds:
            notes.append(
                f"{cell.defense} rejected everybody under {cell.attack}, so that the model stayed "
                f"as it was: seed {', '.join(seeds)}."
            )
    versions = sorted(set(table["code_version"].dropna()))
    if len(versions) > 1:
        notes.append(f"Made by more than one version of the code: {', '.join(versions)}.")
    return notes
