"""Draw the figure and bring the tables into ``bench/README.md``, from the JSON that is there.

python -m bench.publish
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from bench.figure import draw
from bench.report import RESULTS, markdown, read
from benchmark.utils.files import atomic_file

README = Path(__file__).with_name("README.md")
SECTION = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, folder: Path) -> str:
    """``text`` with the latest tables between ``<!-- NAME -->`` and ``<!-- end -->``."""

    def section(match: re.Match[str]) -> str:
        opening, name, end = match.groups()
        result = read(folder, name)
        return f"{opening}{markdown(result) if result else 'Not measured yet.'}\n{end}"

    return SECTION.sub(section, text)


def main(given: Sequence[str] | None = None) -> None:
    """Do it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.parse_args(given)
    print(draw(RESULTS))
    text = filled(README.read_text(encoding="utf-8"), RESULTS)
    with atomic_file(README) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(README)


if __name__ == "__main__":
    main()
