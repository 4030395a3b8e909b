"""The numbers under a figure."""

from benchmark.report.document import Block, Paragraph, Table, Text
from benchmark.report.numbers import interval, measured, percent, short
from benchmark.reproduction import figures, lines
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.profile import HONEST
from benchmark.reproduction.scores import by_seed, score
from benchmark.results.statistics import estimate
from benchmark.run.record import Record


def scores(evidence: Evidence, name: str) -> Table:
    """A suite's lines; means over the last fifth of the rounds, and over all."""
    head = ["line", "main, %", "in-sample, %", "held-out, %", "in-sample, all rounds, %"]
    stops = any(windowed(evidence.of(line)) for line in evidence.lines[name])
    head += ["while attacked, %", "half-life, rounds"] if stops else []
    rows: list[list[Text]] = []
    for each in lines.labeled(evidence, name):
        scored = score(evidence, each.line)
        missing = f" ({scored.missing} missing)" if scored.missing else ""
        row: list[Text] = [f"{each.name}{missing}", interval(scored.main)]
        if scored.withheld:
            row += [scored.withheld, *[""] * (len(head) - 3)]
        else:
            row += map(interval, (scored.in_sample, scored.held_out, scored.cumulative))
            row += _life(evidence.of(each.line)) if stops else []
        rows.append(row)
    return Table.of(head, rows)


def _life(records: list[Record]) -> list[Text]:
    """Backdoor accuracy late in the attack, and the rounds until half of it is gone."""
    lived = by_seed(records, "backdoor_in_sample", "half_life")
    outlived = any(
        lived.get(r.seed) == r.config["federation"]["rounds"] - _last_attacked(r) for r in records
    )
    half_life = measured(estimate(lived)) if lived else "no backdoor"
    attacked = by_seed(records, "backdoor_in_sample", "attacked_fifth")
    return [interval(estimate(attacked)), f"≥ {half_life}" if outlived else half_life]


def _last_attacked(record: Record) -> int:
    points = record.curves["num_compromised"].points()
    return max((r for r, n in points.items() if n > 0), default=0)


def windowed(records: list[Record]) -> bool:
    """Whether the attack was confined to a window of rounds."""
    return any(r.config["participation"].get("window") is not None for r in records)


def norm_numbers(evidence: Evidence) -> list[Block]:
    """How long honest updates were, in a sentence."""
    records = [r for line in evidence.lines[HONEST] for r in evidence.of(line)]
    medians = estimate(by_seed(records, "honest_norm_median", "cumulative_mean"))
    longest = [v for r in records for v in r.curves["honest_norm_max"].points().values()]
    bound = evidence.values.get(figures.NORM_BOUND)
    if medians is None or not longest:
        return []
    told = (
        f"Honest updates have a median norm of {measured(medians)} on average over "
        f"rounds; the longest of all was {short(max(longest))}."
    )
    if bound is not None:
        above = sum(value > bound for value in longest)
        told += (
            f" In {above} of {len(longest)} rounds ({percent(above / len(longest))}) a "
            f"client was above {short(bound)}, the paper's 2."
        )
    return [Paragraph(told)]
