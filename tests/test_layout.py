"""The house keeps its order: what `lint-imports` cannot say (CONTRIBUTING.md, "The house")."""

import ast
from collections import defaultdict

from tests.support.running import ROOT

PACKAGE = ROOT / "benchmark"
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
SAY_NOTHING = {"words", "terms", "text", "labels", "plain", "facts", "building", "construction"}
LONGEST = 250


def test_every_module_lives_in_a_room() -> None:
    assert {path.name for path in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_every_room_has_its_tests() -> None:
    missing = [room.name for room in ROOMS if not list((ROOT / "tests" / room.name).glob("test_*"))]
    assert missing == []


def test_a_module_is_named_by_what_it_holds() -> None:
    assert [str(path) for path in MODULES if path.stem in SAY_NOTHING] == []


def test_a_class_name_is_given_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_a_file_is_read_in_one_sitting() -> None:
    files = [p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".jinja", ".c")]
    lengths = {str(p.relative_to(ROOT)): p.read_text("utf-8").count("\n") for p in files}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST} == {}
