"""Records to a leaderboard: pure, and independent of the order of the records."""

import re
from collections import Counter
from collections.abc import Sequence
from statistics import median

from benchmark.leaderboard.board import Cell, Leaderboard, Run, Section
from benchmark.leaderboard.ranking import rank_attacks, rank_defenses
from benchmark.results.gates import GATE
from benchmark.results.searches import Search, Tuned, find
from benchmark.results.settings import Setting, choice, split_by_setting, unique_choices
from benchmark.results.statistics import difference, estimate
from benchmark.run.record import Record
from benchmark.utils.errors import UserError

Pair = tuple[str, str]
Matrix = dict[Pair, dict[int, Record]]


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
    return Leaderboard(name, [_section(*part, searches) for part in split_by_setting(records)])


def _section(setting: Setting, records: list[Record], searches: Sequence[Search]) -> Section:
    records = sorted(records, key=lambda r: r.cell)
    matrix, names = _matrix(records)
    attacks = _first("none", sorted({attack for attack, _ in matrix}), names["attack"])
    defenses = _first("mean", sorted({defense for _, defense in matrix}), names["defense"])
    unattacked = attacks[0] if names["attack"][attacks[0]] == "none" else None
    undefended = defenses[0] if names["defense"][defenses[0]] == "mean" else None
    sound = matrix.get((unattacked or "", undefended or ""), {})
    reference = estimate(_scores(sound, "main_accuracy"))
    floor = None if reference is None else reference.mean - GATE
    seeds = sorted({record.seed for record in records})

    def cell(attack: str, defense: str) -> Cell:
        runs = matrix.get((attack, defense), {})
        plain = matrix.get((unattacked or "", defense), {})
        return _cell((attack, defense), runs, plain, sound, seeds, floor)

    cells = [cell(attack, defense) for defense in defenses for attack in attacks]
    tuned = {d: found for d in defenses if (found := _tuned(searches, matrix, d))}
    return Section(
        setting=setting,
        unattacked=unattacked,
        undefended=undefended,
        reference=reference,
        floor=floor,
        seeds=seeds,
        attacks=attacks,
        defenses=defenses,
        defense_rows=rank_defenses(cells, unattacked, reference, tuned),
        attack_rows=rank_attacks(cells, unattacked, undefended, floor),
        cells=cells,
        environment={
            fact: sorted({str(getattr(r.cost, fact)) for r in records})
            for fact in ("engine", "device", "precision")
        },
        notes=_notes(records),
    )


def _tuned(searches: Sequence[Search], matrix: Matrix, defense: str) -> Tuned | None:
    met = [runs for (_, defended), runs in matrix.items() if defended == defense]
    return find(searches, [record for runs in met for record in runs.values()])


def _matrix(records: list[Record]) -> tuple[Matrix, dict[str, dict[str, str]]]:
    """Runs by (attack, defense) and seed; and for both groups, label → name."""
    defenses = unique_choices(records, "defense", context=lambda r: choice(r, "attack"))
    attacks = unique_choices(records, "attack", context=lambda r: choice(r, "defense"))
    names: dict[str, dict[str, str]] = {"attack": {}, "defense": {}}
    matrix: Matrix = {}
    for record, attack, defense in zip(records, attacks, defenses, strict=True):
        names["attack"][attack] = record.config["attack"]["name"]
        names["defense"][defense] = record.config["defense"]["name"]
        runs = matrix.setdefault((attack, defense), {})
        if record.seed in runs:
            raise UserError(
                f"records/{runs[record.seed].cell}.json and records/{record.cell}.json are both "
                f"{attack} against {defense} with seed {record.seed}: keep one of them"
            )
        runs[record.seed] = record
    return matrix, names


def _first(name: str, labels: list[str], names: dict[str, str]) -> list[str]:
    """``labels`` with those of the plug-in ``name`` in front, the plain one foremost."""
    return sorted(labels, key=lambda x: (names[x] != name, names[x], _natural(x)))


def _natural(label: str) -> list[tuple[float, str]]:
    """So that ``norm_bound=3`` stands before ``norm_bound=10``."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(float(p), "") if i % 2 else (0.0, p) for i, p in enumerate(parts)]


def _scores(runs: dict[int, Record], metric: str, window: str = "last_fifth") -> dict[int, float]:
    found = {s: getattr(r.summary.get(metric), window, None) for s, r in runs.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def _cell(
    pair: Pair,
    runs: dict[int, Record],
    plain: dict[int, Record],
    sound: dict[int, Record],
    seeds: list[int],
    floor: float | None,
) -> Cell:
    def gain(metric: str) -> dict[int, float]:
        return difference(_scores(runs, metric), _scores(plain, metric))

    def final(metric: str) -> dict[int, float]:
        return _scores(runs, metric, "final")

    honest = "source_accuracy_targets"
    return Cell(
        attack=pair[0],
        defense=pair[1],
        main=estimate(_scores(runs, "main_accuracy")),
        in_sample=estimate(_scores(runs, "backdoor_in_sample")),
        held_out=estimate(_scores(runs, "backdoor_held_out")),
        final_main=estimate(final("main_accuracy")),
        final_in_sample=estimate(final("backdoor_in_sample")),
        final_held_out=estimate(final("backdoor_held_out")),
        lift=estimate(gain("backdoor_in_sample")),
        lift_held_out=estimate(gain("backdoor_held_out")),
        cost=estimate(difference(_scores(sound, honest), _scores(runs, honest))),
        seconds=_seconds(list(runs.values())),
        runs=[_run(runs[seed], floor) for seed in sorted(runs)],
        missing=[seed for seed in seeds if seed not in runs],
    )


def _run(record: Record, floor: float | None) -> Run:
    def score(metric: str) -> float | None:
        return _scores({record.seed: record}, metric).get(record.seed)

    main = score("main_accuracy")
    return Run(
        cell=record.cell,
        seed=record.seed,
        record=f"records/{record.cell}.json",
        mlflow_run_id=record.mlflow_run_id,
        command=record.command,
        main=main,
        in_sample=score("backdoor_in_sample"),
        held_out=score("backdoor_held_out"),
        below_gate=main is not None and floor is not None and main < floor,
    )


def _seconds(records: list[Record]) -> float | None:
    rounds = [second for r in records for second in r.cost.round_seconds]
    return median(rounds) if rounds else None


def _notes(records: list[Record]) -> list[str]:
    counted = Counter(note for r in records for note in set(r.notes))
    notes = [f"{note} ({counted[note]} of {len(records)} runs)" for note in sorted(counted)]
    versions = sorted({str(r.code.get("version")) for r in records})
    if len(versions) > 1:
        notes.append(f"Made by more than one version of the code: {', '.join(versions)}.")
    return notes
