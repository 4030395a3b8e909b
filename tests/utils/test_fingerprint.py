"""Which source files make a cell's results stale, and which edits of them do."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmark.config.compose import compose
from benchmark.run.cell import Cell
from benchmark.utils import fingerprint
from benchmark.utils.errors import UserError

PACKAGE = Path(fingerprint.__file__).parents[1]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of this package, to be edited, which fingerprints are taken of."""
    shutil.copytree(PACKAGE, tmp_path / "benchmark", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    fingerprint.forget()
    yield tmp_path / "benchmark"
    fingerprint.forget()


def of(*overrides: str) -> str:
    """The fingerprint of a cell as a new process would take it."""
    fingerprint.forget()
    return Cell(tuple(overrides), compose(overrides), Path("data"), "0" * 64).fingerprint


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def append(path: Path) -> None:
    """Something that runs when the module is imported."""
    end = "\n//\n" if path.suffix == ".c" else "\nif True:\n    EDITED = True\n"
    path.write_text(path.read_text(encoding="utf-8") + end, encoding="utf-8")


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


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("utils/checks.py", "must be positive and finite", "has to be above 0"),
        ("federation/contract.py", "is not finite; ", "is infinite: "),
        ("engine/auto.py", '"engine auto: chose %s"', '"chosen: %s"'),
        ("run/record.py", "def command(self)", "def repeats(self)"),
        ("run/training.py", 'notes.append("no compromised', 'notes.append("nobody compromised'),
        ("__init__.py", "__version__ = ", '__version__ = "2" or '),
    ],
)
def test_words_and_what_nobody_uses_do_not_count(
    source: Path, file: str, old: str, new: str
) -> None:
    before = of()
    edit(source / file, old, new)
    assert of() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("run/trainer.py", "cudnn.allow_tf32 = False", "cudnn.allow_tf32 = True"),
        ("run/trainer.py", "with one_thread():", "if True:"),
        ("utils/machine.py", "torch.set_num_threads(1)", "torch.set_num_threads(2)"),
        ("utils/checks.py", "value > 0 and", "value >= 0 and"),
        ("utils/checks.py", "raise ValueError(f", "raise TypeError(f"),
        ("run/recorder.py", "add(trainer.current_epoch, value)", "add(0, value)"),
        ("data/dataset.py", "255", "256"),
    ],
)
def test_what_changes_numbers_counts(source: Path, file: str, old: str, new: str) -> None:
    before = of()
    edit(source / file, old, new)
    assert of() != before


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of somebody else's, with a helper of its own and a module beside it."""
    place = tmp_path / "elsewhere"
    (place / "stranger").mkdir(parents=True)
    (place / "stranger" / "__init__.py").write_text("", encoding="utf-8")
    (place / "stranger" / "helper.py").write_text("FACTOR = 2\nOTHER = 3\n", encoding="utf-8")
    (place / "notebook_helper.py").write_text("def scaled(x):\n    return 2 * x\n")
    (place / "stranger" / "mine.py").write_text(
        "import json\n"
        "from benchmark.defenses.mean import Mean\n"
        "from notebook_helper import scaled\n"
        "from stranger.helper import FACTOR\n\n\n"
        "class Mine(Mean):\n"
        "    def half(self):\n"
        "        return scaled(FACTOR), json.dumps(1)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(place)
    fingerprint.forget()
    yield place
    fingerprint.forget()


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("stranger/mine.py", "return scaled", "return 1 + scaled", True),
        ("stranger/helper.py", "FACTOR = 2", "FACTOR = 4", True),
        ("stranger/helper.py", "OTHER = 3", "OTHER = 5", False),
        ("notebook_helper.py", "2 * x", "3 * x", True),
        ("stranger/__init__.py", "", "print()", True),
    ],
)
def test_code_outside_of_the_checkout_counts(
    strange: Path, file: str, old: str, new: str, counts: bool
) -> None:
    before = _fresh(["stranger.mine.Mine"])
    edit(strange / file, old, new)
    assert (_fresh(["stranger.mine.Mine"]) != before) == counts


def test_a_strangers_defense_follows_ours(strange: Path, source: Path) -> None:
    before = _fresh(["stranger.mine.Mine"])
    append(source / "defenses" / "base.py")
    assert _fresh(["stranger.mine.Mine"]) != before


def test_installed_packages_are_not_followed(
    strange: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = (*fingerprint.LIBRARIES, strange.resolve())
    monkeypatch.setattr(fingerprint, "LIBRARIES", installed)
    before = _fresh(["stranger.mine.Mine"])
    edit(strange / "notebook_helper.py", "2 * x", "3 * x")
    assert _fresh(["stranger.mine.Mine"]) == before
    # What is a target's own package counts wherever it is installed.
    edit(strange / "stranger" / "helper.py", "FACTOR = 2", "FACTOR = 4")
    assert _fresh(["stranger.mine.Mine"]) != before


@pytest.mark.parametrize("target", ["math.Defense", "no.such.package.Defense", "_json.Scanner"])
def test_what_has_no_source_is_refused(target: str) -> None:
    with pytest.raises(UserError, match=f"{target}: has no Python source"):
        _fresh([target])


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
    fingerprint.forget()
    return fingerprint.fingerprint(modules)
