"""``export``: the table of a suite's runs, which its leaderboard is made from."""

import argparse
import io
import sys
from difflib import get_close_matches
from pathlib import Path

from benchmark.run import suite
from benchmark.run.record import Record
from benchmark.utils.errors import UserError, program
from benchmark.utils.files import atomic_file


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    name, kind, out = arguments.name, arguments.format, arguments.out
    if kind == "parquet" and out is None:
        raise UserError("--format parquet is not for a terminal: name a file with --out")
    if kind == "latex" and arguments.columns:
        raise UserError("--columns is of csv and parquet; latex writes the leaderboard's table")
    folder = arguments.results / name
    records, missing = suite.records(folder)
    if kind == "latex":
        content = _latex(name, records, arguments.results)
    else:
        content = _table(records, _reasons(folder, missing), arguments.columns, kind)
    if out is None:
        sys.stdout.write(content.decode())
    else:
        with atomic_file(out) as temporary:
            temporary.write_bytes(content)
    if missing:
        print(
            f"fedbackdoor: {len(missing)} cells of {name} have no record; {program()} suite {name}",
            file=sys.stderr,
        )
    return 0


def _reasons(folder: Path, missing: list[str]) -> dict[str, str]:
    """Cells without a record → why, where that is known."""
    found = dict.fromkeys(missing, "")
    for cell in missing:
        path = folder / "failures" / f"{cell}.txt"
        if path.exists():
            found[cell] = path.read_text(encoding="utf-8").partition("\n")[0]
    return found


def _table(records: list[Record], missing: dict[str, str], chosen: str | None, kind: str) -> bytes:
    # Imported late: pandas takes a second, and a wrong name needs none of it.
    from benchmark.results import table

    # An id is attack-defense-s<seed>-<hash>.
    absent = [
        table.no_record(cell, int(cell.rsplit("-", 2)[1].removeprefix("s")), reason)
        for cell, reason in missing.items()
    ]
    frame = table.runs(records, absent)
    names = list(frame.columns) if chosen is None else chosen.split(",")
    for name in names:
        if name not in frame.columns:
            close = get_close_matches(name, frame.columns, 1)
            hint = f"did you mean '{close[0]}'?" if close else "without --columns all are written"
            raise UserError(f"no column '{name}' in this table; {hint}")
    if kind == "csv":
        return frame[names].to_csv(index=False).encode()
    written = io.BytesIO()
    frame[names].to_parquet(written, index=False)
    return written.getvalue()


def _latex(name: str, records: list[Record], results: Path) -> bytes:
    # Imported late, as above.
    from benchmark import leaderboard
    from benchmark.leaderboard.latex import to_latex

    board = leaderboard.build(records, name, leaderboard.searches(results))
    return to_latex(board).encode()
