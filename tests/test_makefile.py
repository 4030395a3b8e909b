"""``make setup`` on the machine of somebody who has nothing yet."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.running import ROOT

PYTHON = """#!/bin/sh
case "$*" in
"-c "*) exit $OLD;;
"-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python && touch .venv/bin/activate;;
*) echo "$@" >> asked;;
esac
"""
"""Stands for Python: what it was asked is in a file."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(clone: Path, old: int) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OLD": str(old)}
    words = ["make", "setup", "PYTHON=./python"]
    return subprocess.run(words, cwd=clone, env=environment, capture_output=True, text=True)


def test_an_old_python_is_told_what_is_needed(clone: Path) -> None:
    done = make(clone, 1)
    assert done.returncode == 2
    assert "Python 3.11 or newer is needed: make setup PYTHON=python3.11" in done.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a GPU is there")
def test_without_a_gpu_it_says_how_to_do_without_cuda(clone: Path) -> None:
    done = make(clone, 0)
    assert done.returncode == 0, done.stderr
    assert "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup" in done.stdout
    assert "-m pip install" in (clone / "asked").read_text()
    # Said once: what is there is not fetched again.
    (clone / ".venv" / "lib" / "python3" / "site-packages" / "torch").mkdir(parents=True)
    (clone / ".venv" / "installed").unlink()
    assert "PIP_EXTRA_INDEX_URL" not in make(clone, 0).stdout
