"""A password on the command line or in a file reaches no record, page, store or message."""

from pathlib import Path

import pytest

from tests.support.running import TINY, call

SECRET = "hunter2"
ADDRESS = f"http://me:{SECRET}@127.0.0.1:1"


def held(folder: Path) -> list[Path]:
    """The files that hold the secret."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in found if SECRET.encode() in path.read_bytes()]


def test_a_password_in_the_tracking_address_is_written_and_said_nowhere(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY, "tracking=mlflow", f"tracking.uri='{ADDRESS}'"]
    run = call(capsys, "run", *words)
    assert run.status == 0
    assert "MLflow at http://me:***@127.0.0.1:1: " in run.err
    suite = call(capsys, "suite", "smoke", *words, "--workers", "1")
    board = call(capsys, "leaderboard", "smoke")
    track = call(capsys, "track", "smoke", "--uri", ADDRESS)
    for answer in (run, suite, board, track):
        assert SECRET not in answer.out + answer.err
    assert held(workplace) == []
    refused = call(capsys, "run", *words, "seed=7", f"tracking.uri='ftp://me:/{SECRET}@h'")
    assert refused.fault.startswith(
        "tracking uri ftp://me:***@h: MLflow knows no scheme ftp; valid"
    )
    assert "USER@HOST" in refused.err


@pytest.mark.parametrize(
    "override", ["device=${oc.env:HOME}", 'tracking.uri="${oc.decode:${oc.env:HOME}}"']
)
def test_what_the_environment_holds_is_no_value(
    workplace: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    answer = call(capsys, "run", *TINY, "tracking=mlflow", override)
    assert "does not belong into records" in answer.fault


def test_a_message_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    answer = call(capsys, "leaderboard", "\x1b[2Jsmoke")
    assert answer.fault.startswith("no suite '\\x1b[2Jsmoke'")
