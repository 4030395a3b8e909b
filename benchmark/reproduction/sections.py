"""The parts of a report: what was run, verdicts, a section for each suite, what follows of all."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmark.report.document import (
    Block,
    Bullets,
    Code,
    Facts,
    Heading,
    Mark,
    Paragraph,
    Picture,
    Table,
    Text,
)
from benchmark.report.numbers import interval, measured, percent, short
from benchmark.report.vocabulary import USER_KINDS
from benchmark.reproduction import figures, verdict_text
from benchmark.reproduction.chapters import chapter, ordered
from benchmark.reproduction.evidence import Evidence
from benchmark.reproduction.lines import Labeled, labeled
from benchmark.reproduction.profile import HONEST, NOISE_STDS, NORM_BOUNDS
from benchmark.reproduction.verdict import Verdict
from benchmark.results.curves import attacked, points
from benchmark.results.gates import COLLAPSE
from benchmark.results.table import by_seed
from benchmark.run.record import Record

SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


def was_run(evidence: Evidence) -> list[Block]:
    """Data, model, protocol, seeds, code and machine."""
    records = list(evidence.records.values())

    def each(get: Callable[[Record], Any], between: str = ", ") -> str:
        return between.join(sorted({str(x) for r in records if (x := get(r)) is not None}))

    def protocol(key: str) -> str:
        return each(lambda r: r.config["federation"][key])

    here = evidence.values
    n, missing, diverged = len(evidence.runs), len(evidence.missing), len(evidence.diverged)
    prints = len({record.code.get("fingerprint") for record in records})
    commits = each(lambda r: r.cost.environment.get("commit"))
    stds = [", ".join(short(here[kind + std]) for std in NOISE_STDS) for kind in ("std", "sum")]
    unit = (
        f"a norm of 1 in the paper is {short(evidence.unit)} here, by the norms of honest updates"
    )
    blocks: list[Block] = [
        Paragraph((Mark("The users are not real writers."), f" {told}"), True)
        for kind in sorted({str(record.data.get("user_kind")) for record in records})
        if (told := USER_KINDS.get(kind, f"They are {kind}.")) and kind != "writers"
    ]
    if missing:
        told = f" of {n} federations have no record; they are named below."
        blocks.append(Paragraph((Mark(f"{missing}"), told), True))
    facts: list[tuple[str, Text]] = [
        ("Profile", (Mark(evidence.profile, "code"), f": {evidence.description}")),
        ("Data", _data(records)),
        ("Model", each(lambda r: r.config["model"]["name"])),
        ("Clients a round", protocol("clients_per_round")),
        ("Rounds", protocol("rounds")),
        ("Backdoor tasks", str(here.get("tasks", "?"))),
        ("Seeds", ", ".join(map(str, evidence.seeds))),
        ("Federations", f"{n - missing} of {n}" + f", {diverged} diverged" * bool(diverged)),
        (
            "Norms",
            f"{unit if evidence.unit != 1 else 'as in the paper'}; {bounds(evidence)}, so that one "
            "client moves the average by as much as one of the paper's 30",
        ),
        (
            "Noise",
            f"{SIGMA} = 0.025 and √0.025 became {stds[0]} on the average and {stds[1]} on the sum, "
            "so that its length keeps its ratio to that push",
        ),
        (
            "Code",
            f"version {each(lambda r: r.code.get('version'))}, {prints} "
            f"fingerprint{'s' if prints != 1 else ''} of the source"
            + f", commit {commits}"
            * bool(commits),
        ),
        ("Engine", each(lambda r: r.cost.engine, "; ")),
        ("Device", each(lambda r: r.cost.device, "; ")),
        ("Date", evidence.date),
    ]
    return [
        *blocks,
        Facts(facts),
        Paragraph("The records are made by"),
        Code(evidence.command),
        Paragraph("and the report is built from them, in seconds, by"),
        Code("python -m benchmark report FILE --out FOLDER"),
    ]


def _data(records: Iterable[Record]) -> Text:
    keys = ("name", "users", "user_kind", "train_images", "test_images", "hash")
    found = sorted({tuple(str(record.data.get(key, "?")) for key in keys) for record in records})
    parts: list[str | Mark] = []
    for name, users, kind, train, test, digest in found:
        told = f"{name}, {users} {kind}, {train} training and {test} test images, hash "
        parts += ["; " * bool(parts) + told, Mark(digest[:12], "code")]
    return tuple(parts)


def bounds(evidence: Evidence) -> str:
    """What the paper's norm bounds became."""
    here = ", ".join(short(evidence.values[f"M{M}"]) for M in NORM_BOUNDS)
    return f"M = {', '.join(map(str, NORM_BOUNDS))} became {here}"


def verdict_table(verdicts: Sequence[Verdict]) -> Table[Any]:
    """One row a claim, in the order of the figures."""
    suites = ordered({v.claim.suite for v in verdicts})
    rows: list[list[Text]] = [
        [
            chapter(v.claim.suite).title,
            v.claim.text.strip(),
            verdict_text.verdict(v.word),
            verdict_text.found(v),
            verdict_text.margin(v.claim),
            verdict_text.measure(v.claim),
            v.claim.source,
        ]
        for v in sorted(verdicts, key=lambda v: suites.index(v.claim.suite))
    ]
    head = ["part", "claim", "verdict", "found", "margin", "measured", "source"]
    return Table.of(head, rows, words=len(head))


def suite(evidence: Evidence, name: str, verdicts: Sequence[Verdict]) -> list[Block]:
    """What was run, the verdicts on it, the figure and its numbers."""
    part, lines = chapter(name), labeled(evidence, name)
    about = evidence.descriptions.get(name, "").strip().removesuffix(".")
    told = f"{about[:1].upper()}{about[1:]}." if about else ""
    if any("M = " in line.name for line in lines) and evidence.values["M10"] != 10:
        told += f" {bounds(evidence)}."
    own: list[Text] = [
        (*verdict_text.verdict(v.word), f": {v.claim.text.strip()}")
        for v in verdicts
        if v.claim.suite == name
    ]
    blocks: list[Block] = [
        Heading(2, f"{part.title}: {part.about}" if part.about else part.title),
        Paragraph(told),
    ]
    blocks += [Bullets(own)] if own else []
    if any(line.records for line in lines):
        blocks.append(Picture(name, part.title, _caption(name, lines)))
    blocks.append(_scores(lines))
    return [*blocks, *_norms(evidence, lines)] if name == HONEST else blocks


def _caption(name: str, lines: Sequence[Labeled]) -> str:
    if name == HONEST:
        return f"Norms of honest updates, by round and over all rounds and seeds. {figures.BAND}"
    told = (
        "Main accuracy, in-sample backdoor accuracy and its mean over the rounds so far. "
        f"{figures.BAND} Dotted: main accuracy without attack and defense."
    )
    if figures.intermittent(lines):
        told += " Each line's in-sample backdoor accuracy has a panel of its own, in their order."
    if any(line.window for line in lines):
        told += " Shaded: the rounds with an attack."
    if any(line.withheld.startswith("collapsed") for line in lines):
        told += (
            f" Models with less than {100 * COLLAPSE:g} % of that have collapsed, and their "
            "backdoor accuracy is not shown."
        )
    return told


def _scores(lines: Sequence[Labeled]) -> Table[Any]:
    """Means over the last fifth of the rounds, and over all."""
    head = ["line", "main, %", "in-sample, %", "held-out, %", "in-sample, all rounds, %"]
    stops = any(line.window for line in lines)
    head += ["while attacked, %", "half-life, rounds"] if stops else []
    rows: list[list[Text]] = []
    for line in lines:
        missing = f" ({line.missing} missing)" if line.missing else ""
        row: list[Text] = [f"{line.name}{missing}", interval(line.mean("main_accuracy"))]
        if line.withheld:
            row += [line.withheld, *[""] * (len(head) - 3)]
        else:
            in_sample, held_out = line.mean("backdoor_in_sample"), line.mean("backdoor_held_out")
            everywhere = line.mean("backdoor_in_sample", "cumulative_mean")
            row += [interval(each) for each in (in_sample, held_out, everywhere)]
            row += _life(line) if stops else []
        rows.append(row)
    return Table.of(head, rows)


def _life(line: Labeled) -> list[Text]:
    """Backdoor accuracy late in the attack, and the rounds until half of it is gone."""
    lived = by_seed(line.runs, "backdoor_in_sample", "half_life")
    outlived = any(
        lived.get(r.seed) == r.config["federation"]["rounds"] - max(attacked(r), default=0)
        for r in line.records
    )
    half_life = measured(line.mean("backdoor_in_sample", "half_life")) if lived else "no backdoor"
    late = interval(line.mean("backdoor_in_sample", "attacked_fifth"))
    return [late, f"≥ {half_life}" if outlived else half_life]


def _norms(evidence: Evidence, lines: Sequence[Labeled]) -> list[Block]:
    """How long honest updates were, in a sentence."""
    records, limit = [r for line in lines for r in line.records], evidence.values["norm2"]
    medians = lines[0].mean("honest_norm_median", "cumulative_mean")
    longest = [value for r in records for value in points(r, "honest_norm_max").values()]
    if medians is None or not longest:
        return []
    above = sum(value > limit for value in longest)
    return [
        Paragraph(
            f"Honest updates have a median norm of {measured(medians)} on average over "
            f"rounds; the longest of all was {short(max(longest))}. "
            f"In {above} of {len(longest)} rounds ({percent(above / len(longest))}) a "
            f"client was above {short(limit)}, the paper's 2."
        )
    ]
