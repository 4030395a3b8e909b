"""``track`` on records that come from somewhere else."""

import os
from pathlib import Path

import pytest

from benchmark.run.record import Record
from tests.support.running import call
from tests.support.synthetic import record


class Planted:
    """What a record must not be able to have made."""

    def __init__(self, **given: object):
        Path("planted").touch()


def recorded(folder: Path, **tracking: object) -> Path:
    """One record of the suite smoke, which says this of its tracking."""
    made = record()
    path = folder / "results" / "smoke" / "records" / f"{made.cell}.json"
    Record(**{**vars(made), "config": {**made.config, "tracking": tracking}}).write(path)
    return path


@pytest.mark.parametrize("target", [f"{__name__}.Planted", "os.system"])
def test_a_class_that_a_record_names_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", lambda *given: pytest.fail("run"))
    recorded(tmp_path, name="mlflow", _target_=target, experiment="mine", uri="ftp://nowhere")
    # The address is the record's: it is our own tracker that refuses it.
    assert "no scheme ftp" in call(capsys, "track", "smoke").fault
    assert not Path("planted").exists()


def test_a_tracker_that_there_is_not_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path, name="theirs", _target_=f"{__name__}.Planted")
    fault = call(capsys, "track", "smoke").fault
    assert "no tracking 'theirs'" in fault
    assert "mlflow, none" in fault
