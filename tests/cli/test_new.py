"""``new`` writes what passes at once, and refuses what could not be."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import call, environment, files


@pytest.mark.slow
def test_what_it_writes_keeps_the_contract_as_it_stands(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = set()
    for kind in ("attack", "defense"):
        own = f"my_{kind}"
        answer = call(capsys, "new", kind, own)
        written = [f"{own}.py", f"conf/{kind}/{own}.yaml", f"test_{kind}s.py"]
        assert answer.out.splitlines()[:3] == [f"plugins/{name}" for name in written]
        every.update(written)
        assert files(workplace / "plugins") == every
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "plugins"],
        cwd=workplace,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    for kind in ("attack", "defense"):
        assert f"[my_{kind}" in done.stdout
    # Another one of a kind is tested by the same file.
    assert call(capsys, "new", "attack", "another").status == 0
    tests = sorted(path.name for path in (workplace / "plugins").glob("test_*"))
    assert tests == ["test_attacks.py", "test_defenses.py"]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("norm-clip", "a name is lower case letters"),
        ("NormClip", "a name is lower case letters"),
        ("2nd", "a name is lower case letters"),
        ("a/b", "a name is lower case letters"),
        ("", "a name is lower case letters"),
        ("lambda", "a name is lower case letters"),
        ("mean", "defense=mean is there already; taken: adaptive_clip"),
        ("json", "a Python module is called so already"),
        ("torch", "a Python module is called so already"),
    ],
)
def test_names_that_could_not_be(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    fault: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fault in call(capsys, "new", "defense", name).fault
    assert files(tmp_path) == set()


def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_median.py").write_text("years of work")
    fault = call(capsys, "new", "defense", "my_median", "--folder", "mine").fault
    assert fault == "mine/my_median.py is there already"
    assert files(tmp_path) == {"mine/my_median.py"}
