"""The wheel holds all that the program needs, and runs where there is nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.running import ROOT, TINY, environment

pytest.importorskip("setuptools", minversion="77")

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
"""What pip asks of the build backend; it needs no network."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no earlier build lies beside."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("benchmark", "conf"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=skipped)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "fedbackdoor.py"):
        shutil.copy(ROOT / name, source)
    for name in ("README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(out)], cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_everything_is_in_it(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    package = [path for path in (ROOT / "benchmark").rglob("*") if path.is_file()]
    expected = {str(path.relative_to(ROOT)) for path in package if path.suffix != ".pyc"}
    yamls = (ROOT / "conf").rglob("*.yaml")
    expected |= {f"benchmark/{path.relative_to(ROOT)}" for path in yamls}
    assert held >= expected
    others = {name for name in held - expected if ".dist-info/" not in name}
    assert others == {"fedbackdoor.py"}
    assert {".py", ".c", ".jinja", ".yaml"} == {Path(name).suffix for name in expected}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, "--target", str(folder), str(wheel)], capture_output=True)
    if done.returncode:
        pytest.skip("no pip here")
    return folder


def fedbackdoor(
    installed: Path, cwd: Path, *words: str, path: str = ""
) -> subprocess.CompletedProcess[str]:
    """The installed program in a process of its own, with nothing of this checkout."""
    return subprocess.run(
        [sys.executable, str(installed / "bin" / "fedbackdoor"), *words],
        cwd=cwd,
        env={**environment(installed), "PYTHONPATH": path + str(installed), "HOME": str(cwd)},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_it_runs_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    """Also where a module of the same name lies, which workers must not take for ours."""
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "__init__.py").write_text("raise RuntimeError('not ours')")
    for words, said in {
        "list": "norm_clip",
        " ".join(("suite", "smoke", *TINY)): "4 of 4 cells have a record",
        "leaderboard smoke": "leaderboard.html",
    }.items():
        done = fedbackdoor(installed, tmp_path, *words.split())
        assert done.returncode == 0, done.stderr
        assert said in done.stdout + done.stderr
    records = list((tmp_path / "results" / "smoke" / "records").iterdir())
    assert len(records) == 4
    assert all('"commit": "unknown"' in record.read_text() for record in records)


def test_another_benchmark_in_the_way_is_named(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "benchmark.py").write_text("raise RuntimeError('not ours')")
    done = fedbackdoor(installed, tmp_path, "list", path=f"{tmp_path}{os.pathsep}")
    assert done.returncode == 2
    assert done.stderr == (
        f"fedbackdoor: error: {tmp_path}/benchmark.py hides FedBackdoor's own package of that "
        "name; take its folder off PYTHONPATH, and in that folder say fedbackdoor, not python -m\n"
    )
