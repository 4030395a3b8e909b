"""Plug-ins from outside this repository: found, named, refused, and alone with their faults."""

import importlib
import json
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmark.cli.parser import main
from benchmark.config import plugins
from benchmark.config.compose import compose
from benchmark.config.plugins import available
from benchmark.run.cell import Cell
from benchmark.run.record import Record
from benchmark.run.suite import Suite
from benchmark.tuning.attacker import families
from benchmark.utils import fingerprint
from benchmark.utils.errors import UserError
from tests.support.running import TINY, call, command


@pytest.fixture
def folder(workplace: Path) -> Iterator[Path]:
    """Somebody's folder with an attack and a defense, forgotten afterwards."""
    before = list(sys.path)
    for kind, name in (("attack", "my_attack"), ("defense", "my_defense")):
        assert main(["new", kind, name, "--folder", "mine"]) == 0
    importlib.invalidate_caches()
    yield workplace / "mine"
    plugins.use([])
    sys.path[:] = before
    for name in ("my_attack", "my_defense", "my_package"):
        sys.modules.pop(name, None)
    fingerprint.forget()


OWN = ["attack=my_attack", "defense=my_defense", "defense.scale=0.5"]


def test_a_folder_is_run_and_its_record_repeats_itself(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert "no attack 'my_attack'" in call(capsys, "run", *TINY, *OWN).fault
    answer = call(capsys, "run", *TINY, *OWN, "--plugins", "mine")
    assert answer.status == 0, answer.err
    record = Record.read(Path(answer.out.strip()))
    assert record.code["attack"] == record.code["defense"] == str(folder)
    assert record.config["defense"]["scale"] == 0.5
    words = record.command.split()[3:]
    assert words[:2] == ["run", "--plugins"]
    assert "is done already" in call(capsys, *words).err


def test_an_edit_of_it_is_another_cell_and_a_word_is_not(folder: Path) -> None:
    def identity() -> str:
        fingerprint.forget()
        return Cell.of([*TINY, *OWN]).id

    plugins.use([folder])
    before, path = identity(), folder / "my_defense.py"
    text = path.read_text()
    path.write_text(text.replace('"""Average and scale."""', '"""Scale, and average."""  # or so'))
    assert identity() == before
    path.write_text(text.replace("self.scale * mean", "2 * self.scale * mean"))
    assert identity() != before


def test_a_star_takes_it_in(folder: Path) -> None:
    suite = {"description": "", "overrides": [], "axes": {"defense": "*"}, "seeds": [0]}
    plugins.use([folder])
    points = list(Suite.of({"name": "all", **suite}).points())
    assert ["defense=my_defense"] in points
    assert len(points) == len(available("defense"))


@pytest.mark.slow
def test_workers_suites_and_boards_have_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In processes of their own, from a suite of the same folder."""
    (folder / "conf" / "suite").mkdir()
    (folder / "conf" / "suite" / "both.yaml").write_text(
        "description: two defenses\noverrides: []\nseeds: [0]\n"
        "axes: {attack: [none, my_attack], defense: [mean, my_defense]}\n"
    )
    given = ("--plugins", "mine")
    ran = command("suite", "both", *TINY, *given, "--workers", "2", cwd=folder.parent)
    assert "4 of 4 cells have a record" in ran.err
    # A board needs the records alone.
    for words in (given, ()):
        board = call(capsys, "leaderboard", "both", *words)
        assert board.status == 0, board.err
        assert "my_defense" in board.out
    assert call(capsys, "track", "both").status == 0


def test_a_search_for_attackers_has_it(folder: Path) -> None:
    plugins.use([folder])
    assert "my_attack" in families()


def test_two_of_one_name_are_refused_with_both_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "conf" / "defense" / "mean.yaml").write_text("_target_: my_defense.MyDefense\n")
    for words in (["list", "defenses"], ["run", "defense=mean"]):
        fault = call(capsys, *words, "--plugins", "mine").fault
        assert "two are called defense=mean" in fault
        assert str(plugins.CONF / "defense" / "mean.yaml") in fault
        assert str(folder / "conf" / "defense" / "mean.yaml") in fault
    assert call(capsys, "list", "attacks", "--plugins", "mine").status == 0


BROKEN = {
    "a: [": "not YAML",
    "": "must be a mapping",
    "- 1": "must be a mapping",
    "_target_: 3": "_target_ must be text, got 3",
    "_target_: nowhere.Defense": "_target_ names no class",
    "_target_: my_defense.Nobody": "_target_ names no class",
    "_target_: unreadable.X": "_target_ names what is no Python",
    "_target_: my_defense.MyDefense\nsearch: 3": "search must be a mapping, got 3",
    "_target_: my_defense.MyDefense\nreport: {titel: x}": "no key 'titel'",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_yaml_breaks_itself_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (folder / "unreadable.py").write_text("class X(\n")
    (folder / "conf" / "defense" / "broken.yaml").write_text(text)
    capsys.readouterr()
    listed = call(capsys, "list", "defenses", "--plugins", "mine", "--json")
    assert listed.status == 0
    assert BROKEN[text] in listed.err
    assert str(folder / "conf" / "defense" / "broken.yaml") in listed.err
    assert listed.err.count("\n") == 1
    entries = {entry["name"]: entry for entry in json.loads(listed.out)}
    assert {name for name, entry in entries.items() if entry["fault"]} == {"broken"}
    assert entries["my_defense"]["origin"] == str(folder)
    assert "broken" in call(capsys, "list", "defenses", "--plugins", "mine").out
    # All others are chosen, and called by their names, as before.
    assert compose(OWN)["defense"]["name"] == "my_defense"


@pytest.mark.parametrize("group", ["suite", "tuning", "profile", "reproduction", "claim"])
def test_a_broken_yaml_of_another_kind_too(
    conf: Path, capsys: pytest.CaptureFixture[str], group: str
) -> None:
    (conf / group / "broken.yaml").write_text("note: nothing else")
    listed = call(capsys, "list", f"{group}s", "--json")
    faulty = [entry["name"] for entry in json.loads(listed.out) if entry["fault"]]
    assert faulty == ["broken"]
    assert " broken: no key 'note'" in listed.err


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import nothing_of_the_kind", "ModuleNotFoundError: No module named 'nothing_of_the_kind"),
        ("class Broken(", "SyntaxError: '(' was never closed (broken.py, line 1)"),
        ("Broken = 3", "it is something else"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("other = 1", "AttributeError: module 'broken' has no attribute 'Broken'"),
    ],
)
def test_why_it_cannot_be_imported_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, cause: str
) -> None:
    (folder / "broken.py").write_text(text)
    (folder / "conf" / "defense" / "broken.yaml").write_text("_target_: broken.Broken\n")
    capsys.readouterr()
    fault = call(capsys, "run", *TINY, "defense=broken", "--plugins", "mine").fault
    assert cause in fault
    assert "defense/broken.yaml: _target_ names no class, but 'broken.Broken'" in fault
    sys.modules.pop("broken", None)


@pytest.mark.parametrize("given", ["nowhere", "data", "mine/my_defense.py"])
def test_a_folder_of_nothing(folder: Path, capsys: pytest.CaptureFixture[str], given: str) -> None:
    capsys.readouterr()
    fault = call(capsys, "run", *TINY, "--plugins", given).fault
    assert f"{given}: no plug-in there, such as defense/NAME.yaml" in fault


def test_an_installed_package_is_found_by_its_entry_point(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site = folder.parent / "site"
    package = site / "my_package"
    (folder / "conf").rename(folder / "yamls")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('is imported where nobody needs it')")
    folder.rename(package / "things")
    metadata = site / "my_package-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(
        "[fedbackdoor.plugins]\nmine = my_package.things.yamls\ngone = my_package.gone\n"
    )
    monkeypatch.syspath_prepend(site)
    plugins._installed.cache_clear()
    try:
        assert "my_defense" in available("defense")
        assert plugins.origin("defense", "my_defense") == "my-package 1.2"
        assert "my-package 1.2: its plug-ins are left out, as there is no my_package.gone" in str(
            caplog.messages
        )
        target = package / "things" / "yamls" / "defense" / "my_defense.yaml"
        target.write_text(
            target.read_text().replace("my_defense.", "my_package.things.my_defense.")
        )
        (package / "__init__.py").write_text("")
        cell = Cell.of([*TINY, "defense=my_defense"])
        assert cell.code["defense"] == "my-package 1.2"
    finally:
        plugins._installed.cache_clear()


def test_the_same_folder_twice_is_one(folder: Path) -> None:
    plugins.use([folder, folder])
    assert plugins.chosen() == (folder,)
    with pytest.raises(UserError, match="no attack 'mine'"):
        compose(["attack=mine"])


@pytest.mark.skipif(find_spec("flwr") is not None, reason="Flower is here")
def test_a_choice_of_an_extra_says_what_to_install() -> None:
    with pytest.raises(UserError, match=r"^defense=flower needs Flower: pip install 'fedbackdoor"):
        compose(["defense=flower"])
