"""What the documentation shows as code, to be run as it stands."""

import re
from pathlib import Path

from tests.support.running import ROOT


def example(path: str) -> str:
    """The block that CONTRIBUTING.md shows below a file's name."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = re.search(rf"^`{re.escape(path)}`[^\n]*\n\n```\w+\n(.*?)^```$", text, re.M | re.S)
    assert found, f"CONTRIBUTING.md shows no {path}"
    return found[1]


def newcomer(root: Path) -> None:
    """Write the example attack and its yaml below a folder with ``benchmark/`` and ``conf/``."""
    for path in ("benchmark/attacks/shout.py", "conf/attack/shout.yaml"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(example(path), encoding="utf-8")
