"""All runs as one table, from which every number of a page can be computed again.

Importing this imports no pandas, which takes a second that a wrong name should not.
"""

import json
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.results.columns import COLUMNS
from benchmark.results.curves import points
from benchmark.results.measures import MEASURES
from benchmark.results.settings import choice, split_by_setting, unique_choices
from benchmark.run.record import Record
from benchmark.utils.nested import flat

if TYPE_CHECKING:
    import pandas as pd

FINISHED, DIVERGED, MISSING = "finished", "diverged", "missing"
ALONE = "all"
"""The label of a setting beside which there is no other."""


_DTYPES: dict[str, Any] = {"text": "str", "integer": "int64", "number": "float64"}
Row = dict[str, Any]


def runs(
    records: Iterable[Record],
    absent: Iterable[Row] = (),
    measures: Collection[str] = tuple(MEASURES),
) -> "pd.DataFrame":
    """One row a run, in the order of cells: the same table whatever the order of the records.

    Args:
        records: of runs that were finished; settings may be mixed.
        absent: runs without a record, see :func:`no_record`.
        measures: of :data:`MEASURES`, those to take of every metric.
    """
    import pandas as pd

    rows = [row for part in split_by_setting(list(records)) for row in _rows(*part, measures)]
    rows += absent
    rows.sort(key=lambda row: row["cell"])
    stated = {column.name: _DTYPES[column.dtype] for column in COLUMNS}
    others = sorted({name for row in rows for name in row} - stated.keys(), key=_place)
    columns = {n: pd.Series([row.get(n) for row in rows], dtype=t) for n, t in stated.items()}
    columns |= {n: pd.Series(_alike([row.get(n) for row in rows])) for n in others}
    return pd.DataFrame(columns)


def no_record(
    cell: str, seed: int, reason: str = "", config: Mapping[str, Any] | None = None
) -> Row:
    """The row of a run without a record.

    Args:
        cell, seed: of the run.
        reason: why; empty where it was not run.
        config: resolved, where it is known.
    """
    # Evidence from before a diverged run had a record, which says that it reads nothing.
    told = reason.removeprefix(f"{FloatingPointError.__name__}: ")
    status = MISSING if told == reason else DIVERGED
    scores = {} if status == MISSING else {"main_accuracy.last_fifth": 0.0}
    identity = {"cell": cell, "seed": seed, "status": status, "reason": told or None}
    return _configuration(config or {}) | scores | identity


def fitting(table: "pd.DataFrame", wanted: Mapping[str, Any]) -> "pd.DataFrame":
    """The rows of runs whose configuration is the one wanted.

    Args:
        table: see :func:`runs`.
        wanted: ``group`` → name, or ``group.key`` → value, as in the resolved configuration.
    """
    fits: Sequence[int] = range(len(table))
    for key, value in wanted.items():
        column = table.get(key if "." in key or key == "seed" else f"{key}.name")
        values = [None] * len(table) if column is None else [known(found) for found in column]
        one = next((values[i] for i in fits if values[i] is not None), None)
        sought = _text(value) if isinstance(one, str) and value is not None else value
        fits = [i for i in fits if values[i] == sought]
    return table.iloc[list(fits)]


def by_seed(table: "pd.DataFrame", metric: str, measure: str) -> dict[int, float]:
    """One number for each seed that has it; of rows that differ in the seed alone."""
    column = table.get(f"{metric}.{measure}")
    if column is None:
        return {}
    pairs = zip(table["seed"], column, strict=True)
    return {int(seed): float(value) for seed, value in pairs if not math.isnan(value)}


def known(value: Any) -> Any:
    """A value of the table, None where it is missing."""
    return None if value is None or value != value else value


def _rows(setting: Any, records: list[Record], measures: Collection[str]) -> Iterable[Row]:
    attacks = unique_choices(records, "attack", context=lambda r: choice(r, "defense"))
    defenses = unique_choices(records, "defense", context=lambda r: choice(r, "attack"))
    for record, attack, defense in zip(records, attacks, defenses, strict=True):
        labels = {"setting": setting.label or ALONE, "attack": attack, "defense": defense}
        scores = {
            f"{metric}.{name}": MEASURES[name](record, metric)
            for metric in record.curves.keys() | record.summary.keys()
            for name in measures
        }
        facts = {f"data.{fact}": value for fact, value in record.data.items()}
        yield _configuration(record.config) | facts | scores | _own(record) | labels


def _own(record: Record) -> Row:
    cost, judged = record.cost, points(record, "all_rejected")
    return {
        "cell": record.cell,
        "seed": record.seed,
        "status": DIVERGED if record.diverged else FINISHED,
        "reason": record.diverged.reason if record.diverged else None,
        "goal": record.goal,
        "diverged_round": record.diverged.round if record.diverged else None,
        "all_rejected_rounds": sum(judged.values()) if judged else None,
        "seconds_per_round": statistics.median(cost.round_seconds) if cost.round_seconds else None,
        "peak_memory_mb": max(cost.round_peak_memory_mb, default=None),
        "device": cost.device,
        "engine": cost.engine,
        "precision": cost.precision,
        "code_version": record.code.get("version"),
        "code_fingerprint": record.code.get("fingerprint"),
        "weights_sha256": record.weights_sha256,
        "mlflow_run_id": record.mlflow_run_id,
        "record": f"records/{record.cell}.json",
        "command": record.command,
        "notes": "\n".join(record.notes) or None,
    }


def _configuration(config: Mapping[str, Any]) -> Row:
    """``group.key`` → value; keys that stand in no group, the seed aside, change no number."""
    return {k: v for k, v in flat(config) if "." in k and not k.endswith("._target_")}


def _place(name: str) -> tuple[bool, str]:
    """Scores stand before the configuration."""
    return name.rpartition(".")[2] not in MEASURES, name


def _alike(values: list[Any]) -> list[Any]:
    """Values of one type: where they are of several, or no plain ones, all become text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {str, bool}):
        missing = math.nan if kinds <= {int, float} else None
        return [missing if value is None else value for value in values]
    return [None if value is None else _text(value) for value in values]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
