"""Which source files make a cell's results stale, and which edits of them do."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmark.config.compose import compose
from benchmark.run.cell import Cell
from benchmark.utils import fingerprint

PACKAGE = Path(fingerprint.__file__).parents[1]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of this package, to be edited, which fingerprints are taken of."""
    shutil.copytree(PACKAGE, tmp_path / "benchmark", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    fingerprint._parsed.cache_clear()
    yield tmp_path / "benchmark"
    fingerprint._parsed.cache_clear()


def of(*overrides: str) -> str:
    """The fingerprint of a cell as a new process would take it."""
    fingerprint._parsed.cache_clear()
    return Cell(tuple(overrides), compose(overrides), Path("data"), "0" * 64).fingerprint


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def append(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")


def test_comments_and_docstrings_do_not_count(source: Path) -> None:
    before = of()
    path = source / "defenses" / "mean.py"
    edit(path, '"""FedAvg:', '"""Explained\n\n    at last. FedAvg:')
    path.write_text("# A comment.\n\n\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    edit(
        source / "federation" / "rounds.py",
        "self.automatic_optimization = False",
        ("# why\n        self.automatic_optimization = (\n            False\n        )"),
    )
    assert of() == before


@pytest.mark.parametrize(
    "file",
    [
        "attacks/none.py",
        "attacks/base.py",
        "engine/client.py",
        "defenses/mean.py",
        "defenses/base.py",
        "engine/cpu.py",
        "engine/plan.py",
        "federation/rounds.py",
        "federation/evaluation.py",
        "models/cnn.py",
        "models/dropout.py",
        "federation/participation.py",
        "utils/randomness.py",
        "run/recorder.py",
        "tasks/writer_backdoor.py",
    ],
)
def test_code_counts_wherever_the_cell_uses_it(source: Path, file: str) -> None:
    before = of()
    append(source / file)
    assert of() != before


def test_every_file_of_compiled_code_counts(source: Path) -> None:
    files = sorted((source / "engine").glob("native*.c"))
    assert len(files) > 1
    for file in files:
        before = of()
        append(file)
        assert of() != before


def test_what_a_cell_does_not_use_does_not_count(source: Path) -> None:
    plain, attacked = of(), of("attack=boosted")
    append(source / "attacks" / "boosted.py")
    assert of() == plain
    assert of("attack=boosted") != attacked
    for file in (
        "leaderboard/build.py",
        "cli/display.py",
        "data/sources/qmnist.py",
        "cli/parser.py",
    ):
        append(source / file)
    assert of() == plain


def test_a_new_attack_makes_no_other_cell_stale(source: Path) -> None:
    cells = [[], ["attack=boosted"], ["defense=weak_dp"], ["engine=reference"]]
    before = [of(*overrides) for overrides in cells]
    attack = (source / "attacks" / "boosted.py").read_text(encoding="utf-8")
    (source / "attacks" / "mine.py").write_text(attack, encoding="utf-8")
    assert [of(*overrides) for overrides in cells] == before


@pytest.mark.parametrize(
    "line",
    [
        "import benchmark.attacks.helper",
        "import benchmark.attacks.helper as h",
        "from benchmark.attacks import helper",
        "from benchmark.attacks.helper import value",
        "from . import helper",
        "from .helper import value",
        "from ..attacks.helper import value",
        "def late():\n    from benchmark.attacks.helper import value",
    ],
)
def test_every_way_to_import_is_followed(source: Path, line: str) -> None:
    (source / "attacks" / "mine.py").write_text(line + "\n", encoding="utf-8")
    (source / "attacks" / "helper.py").write_text("value = 1\n", encoding="utf-8")
    seen = _fresh(["benchmark.attacks.mine"])
    (source / "attacks" / "helper.py").write_text("value = 2\n", encoding="utf-8")
    assert _fresh(["benchmark.attacks.mine"]) != seen


def test_a_circle_of_imports_ends_and_other_packages_do_not_count(source: Path) -> None:
    (source / "a.py").write_text("import json\nimport benchmark.b\n", encoding="utf-8")
    (source / "b.py").write_text("import torch\nimport benchmark.a\n", encoding="utf-8")
    seen = _fresh(["benchmark.a"])
    assert len(seen) == 64
    (source.parent / "json.py").write_text("changed = True\n", encoding="utf-8")
    assert _fresh(["benchmark.a"]) == seen
    assert _fresh(["benchmark.b"]) == seen


@pytest.mark.parametrize("change", [lambda text: text + "\nx = 1\n", lambda text: "x = 1\n"])
def test_the_order_of_modules_is_nothing(source: Path, change: Callable[[str], str]) -> None:
    modules = ["benchmark.attacks.boosted", "benchmark.defenses.mean", "benchmark.engine.client"]
    seen = _fresh(modules)
    assert _fresh(modules[::-1]) == seen
    path = source / "engine" / "client.py"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert _fresh(modules) != seen


def _fresh(modules: list[str]) -> str:
    fingerprint._parsed.cache_clear()
    return fingerprint.fingerprint(modules)
