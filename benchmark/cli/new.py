"""``new``: an attack or a defense of one's own, outside this repository: class, yaml and test."""

import argparse
import keyword
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from string import Template

from benchmark.config.plugins import available
from benchmark.utils.errors import UserError, program
from benchmark.utils.files import atomic_file

MODULE = '''\
"""$title: say here in a line what it does."""

$imports
from torch import Tensor


class $cls($base):
    """$formula

    Args:
        scale: c; positive.

    Raises:
        ValueError: ``scale`` is not positive.
    """

    paper = "Somebody et al. $year, where it was published"

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = positive("scale", scale)

$method
'''
ATTACK = {
    "base": "Attack",
    "formula": "Submits c Δ, for the update Δ of training honestly.",
    "imports": """\
from benchmark.attacks.base import Attack, AttackContext
from benchmark.utils.checks import positive""",
    "method": '''\
    def craft(self, updates: Tensor, context: AttackContext) -> Tensor:
        """Scale."""
        return self.scale * updates[:, 0]''',
}
DEFENSE = {
    "base": "Defense",
    "formula": "c Σ_k w_k Δ_k.",
    "imports": """\
from benchmark.defenses.base import Aggregation, Defense, DefenseContext
from benchmark.defenses.blocks import mean
from benchmark.utils.checks import positive""",
    "method": '''\
    def aggregate(self, updates: Tensor, weights: Tensor, context: DefenseContext) -> Aggregation:
        """Average and scale."""
        return Aggregation(self.scale * mean(updates, weights))''',
}
YAML = """\
# Say here what `list` shows.
_target_: $name.$cls
scale: 1.0
search: # where `tune` looks
  scale: {low: 0.1, high: 10.0, log: true}
"""
TEST = '''\
"""What every $kind keeps to, for all of conf/$kind: python -m pytest $folder"""

from pathlib import Path

from benchmark.testing import ${base}Contract


class TestOur${base}s(${base}Contract):
    conf = Path(__file__).parent / "conf"
'''


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    kind, name, folder = arguments.kind, arguments.name, arguments.folder
    if not name.isidentifier() or keyword.iskeyword(name) or not name.islower():
        raise UserError(f"'{name}': a name is lower case letters, digits and _, such as my_{kind}")
    if name in available(kind):
        raise UserError(f"{kind}={name} is there already; taken: {', '.join(available(kind))}")
    if find_spec(name):
        raise UserError(f"'{name}': a Python module is called so already; choose another name")
    words = {
        **(ATTACK if kind == "attack" else DEFENSE),
        "kind": kind,
        "name": name,
        "folder": str(folder),
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "title": name.replace("_", " ").capitalize(),
        "year": str(date.today().year),
    }
    contract = folder / f"test_{kind}s.py"
    files = {folder / f"{name}.py": MODULE, folder / "conf" / kind / f"{name}.yaml": YAML}
    for path in files:
        if path.exists():
            raise UserError(f"{path} is there already")
    # One test file tests all of its kind.
    for path, text in (files if contract.exists() else files | {contract: TEST}).items():
        _write(path, Template(text).substitute(words))
    print(*files, contract, sep="\n")
    print(f"{program()} run {kind}={name} --plugins {folder}")
    return 0


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
