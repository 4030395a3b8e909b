"""What was run: where a report's numbers come from."""

from collections.abc import Callable, Iterable
from typing import Any

from benchmark.report.document import Block, Code, Facts, Mark, Paragraph, Text
from benchmark.report.numbers import short
from benchmark.report.vocabulary import USER_KINDS
from benchmark.reproduction.evidence import Evidence
from benchmark.run.record import Record

SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
WRITERS = "writers"
BOUNDS = (3, 5, 10)
REBUILD = "python -m benchmark report FILE --out FOLDER"


def was_run(evidence: Evidence) -> list[Block]:
    """Data, model, protocol, seeds, code and machine."""
    records = list(evidence.records.values())
    blocks: list[Block] = []
    if kinds := [k for k in _all(records, lambda r: r.data.get("user_kind")) if k != WRITERS]:
        told = " ".join(USER_KINDS.get(kind, f"They are {kind}.") for kind in kinds)
        blocks.append(Paragraph((Mark("The users are not real writers."), f" {told}"), True))
    if missing := evidence.missing:
        told = f" of {num_cells(evidence)} federations have no record; they are named below."
        blocks.append(Paragraph((Mark(f"{len(missing)}"), told), True))
    blocks.append(Facts(_facts(evidence, records)))
    blocks.append(Paragraph("The records are made by"))
    blocks.append(Code(evidence.command))
    blocks.append(Paragraph("and the report is built from them, in seconds, by"))
    blocks.append(Code(REBUILD))
    return blocks


def num_cells(evidence: Evidence) -> int:
    """How many different federations there are, missing ones included."""
    return len({c for lines in evidence.lines.values() for line in lines for c in line.cells})


def rounds(evidence: Evidence) -> list[int]:
    """All numbers of rounds met."""
    return sorted({r.config["federation"]["rounds"] for r in evidence.records.values()})


def _facts(evidence: Evidence, records: list[Record]) -> list[tuple[str, Text]]:
    def protocol(key: str) -> str:
        return ", ".join(_all(records, lambda r: r.config["federation"][key]))

    return [
        ("Profile", (Mark(evidence.profile, "code"), f": {evidence.description}")),
        ("Data", _data(records)),
        ("Model", ", ".join(_all(records, lambda r: r.config["model"]["name"]))),
        ("Clients a round", protocol("clients_per_round")),
        ("Rounds", protocol("rounds")),
        ("Backdoor tasks", str(evidence.values.get("tasks", "?"))),
        ("Seeds", ", ".join(map(str, evidence.seeds))),
        ("Federations", f"{num_cells(evidence) - len(evidence.missing)} of {num_cells(evidence)}"),
        ("Norms", _norms(evidence)),
        ("Noise", _noise(evidence)),
        ("Code", _code(records)),
        ("Engine", "; ".join(_all(records, lambda r: r.cost.engine))),
        ("Device", "; ".join(_all(records, lambda r: r.cost.device))),
        ("Date", evidence.date),
    ]


def _data(records: list[Record]) -> Text:
    parts: list[str | Mark] = []
    for told in sorted({tuple(_all_data(record)) for record in records}):
        name, users, kind, train, test, digest = told
        parts += ["; "] if parts else []
        parts += [f"{name}, {users} {kind}, {train} training and {test} test images, hash "]
        parts += [Mark(digest[:12], "code")]
    return tuple(parts)


def _all_data(record: Record) -> Iterable[str]:
    keys = ("name", "users", "user_kind", "train_images", "test_images", "hash")
    return (str(record.data.get(key, "?")) for key in keys)


def _norms(evidence: Evidence) -> str:
    if evidence.unit == 1:
        return "as in the paper: M = 3, 5, 10"
    return (
        f"a norm of 1 in the paper is {short(evidence.unit)} here, by the norms of honest "
        f"updates; {bounds(evidence)}"
    )


def bounds(evidence: Evidence) -> str:
    """What the paper's norm bounds became."""
    known = [b for b in BOUNDS if f"M{b}" in evidence.values]
    here = ", ".join(short(evidence.values[f"M{b}"]) for b in known)
    return f"M = {', '.join(map(str, known))} became {here}"


def _noise(evidence: Evidence) -> str:
    paper = {"std025": f"{SIGMA} = 0.025", "std158": f"{SIGMA} = √0.025 = 0.158"}
    known = [
        f"{told} became {short(evidence.values[name])}"
        for name, told in paper.items()
        if name in evidence.values
    ]
    return f"{', '.join(known)}, so that its length keeps its ratio to the bound"


def _code(records: list[Record]) -> str:
    versions = ", ".join(_all(records, lambda r: r.code.get("version")))
    commits = ", ".join(_all(records, lambda r: r.cost.environment.get("commit")))
    count = len(_all(records, lambda r: r.code.get("fingerprint")))
    told = f"version {versions}, {count} fingerprint{'s' if count != 1 else ''} of the source"
    return told + (f", commit {commits}" if commits else "")


def _all(records: Iterable[Record], get: Callable[[Record], Any]) -> list[str]:
    return sorted({str(value) for record in records if (value := get(record)) is not None})
