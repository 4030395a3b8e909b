"""``report``: the report of a reproduction, from the evidence that one left."""

import argparse

from benchmark.reproduction.evidence import Evidence
from benchmark.utils.errors import UserError


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    evidence = Evidence.read(arguments.evidence)
    discussion = ""
    if arguments.discussion is not None:
        try:
            discussion = arguments.discussion.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise UserError(f"{arguments.discussion}: not text") from None
    # Imported late: drawing takes seconds, and a wrong file should not.
    from benchmark.reproduction import output

    for path in output.write(evidence, arguments.out, discussion):
        if path.suffix in (".md", ".html"):
            print(path)
    return 0
