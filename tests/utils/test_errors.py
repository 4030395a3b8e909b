"""What a message calls the program."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.running import ROOT, environment

COMMANDS = {
    "fedbackdoor": [str(ROOT / "fedbackdoor.py")],
    "python -m benchmark": ["-m", "benchmark"],
}


def said(name: str, folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *COMMANDS[name], *words],
        cwd=folder,
        env=environment() | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_messages_name_the_program_that_was_typed(name: str, tmp_path: Path) -> None:
    (other,) = COMMANDS.keys() - {name}
    for words, expected in {
        "--help": f"usage: {name} ",
        "tune --help": f"  {name} tune attack ",
        "track": f"{name} run makes one",
        "leaderboard smoke": f"make them with: {name} suite smoke",
        "list suites": f"suites ({name} suite NAME)",
    }.items():
        text = said(name, tmp_path, *words.split()).removeprefix("fedbackdoor: error: ")
        assert expected in text
        assert f"{other} " not in text


WORKER = """
import sys
sys.argv[0] = "bin/fedbackdoor"
from benchmark.run.executors.local import spawn

def serve(connection):
    from benchmark.data.manifest import again
    connection.send(again())

if __name__ == "__main__":
    process, connection = spawn(serve)
    print(connection.recv())
"""


@pytest.mark.slow  # a process that imports torch
def test_a_worker_knows_how_the_command_was_started(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    done = subprocess.run(
        [sys.executable, "worker.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "run fedbackdoor partition again\n"
