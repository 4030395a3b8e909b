"""Running the program: tiny federations, the command line in this process and in its own."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.cli.parser import main
from benchmark.run.cell import Cell

ROOT = Path(__file__).parents[2]

TINY = (
    "data=digits5k",
    "task.num_tasks=2",
    "federation.rounds=3",
    "federation.clients_per_round=3",
    "federation.local_epochs=1",
    "federation.evaluate_every=1",
    "federation.checkpoint_every=1",
    "engine.workers=1",
    "tracking=none",
)
"""Three rounds in less than a second."""


FEW = {
    "attack": ("none", "boosted", "norm_bounded"),
    "defense": ("mean", "norm_clip", "norm_reject", "weak_dp"),
}
"""Of a search that is tried, which has a trial and three federations for each that there is."""


def leave_few(conf: Path) -> None:
    """Take all other attacks and defenses out of a copy of ``conf/``."""
    for group, names in FEW.items():
        for path in (conf / group).glob("*.yaml"):
            if path.stem not in names:
                path.unlink()


def package_of(folder: Path) -> Path:
    """A copy of the program, with few attacks and defenses."""
    for name in ("benchmark", "conf"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    leave_few(folder / "conf")
    return folder


def tiny(*overrides: str) -> Cell:
    return Cell.of([*TINY, *overrides])


def obstruct(cell: Cell, folder: Path) -> Path:
    """Make a cell fail when it writes its model: a folder lies in the file's place."""
    path = cell.weights_path(folder)
    path.mkdir(parents=True)
    return path


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    status: int
    out: str
    err: str

    @property
    def fault(self) -> str:
        """The message of a refusal: its one line on stderr, without the prefix."""
        assert self.status == 2, self
        assert self.err.count("\n") == 1, self.err
        prefix = "fedbackdoor: error: "
        assert self.err.startswith(prefix), self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        return self.err.removeprefix(prefix).strip()


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Answer:
    """Run a command in this process."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Answer(status, captured.out, captured.err)


def command(*arguments: object, cwd: Path, root: Path = ROOT) -> Answer:
    """Run a command in a process of its own, with the package that lies in ``root``."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, arguments)],
        cwd=cwd,
        env=environment(root),
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def environment(root: Path = ROOT) -> dict[str, str]:
    """That of a person who has activated the virtual environment, on one thread."""
    programs = str(Path(sys.executable).parent)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PYTEST_"))},
        "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
    }


def files(folder: Path) -> set[str]:
    """Every file below a folder, by its relative path."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
