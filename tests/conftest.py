"""Settings and fixtures that all tests share."""

import logging
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from benchmark.config.compose import compose

# The same examples in every run, however slow the machine.
settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


LONGEST = ("test_pipeline", "test_tune_kill", "test_kill_resume", "test_tracker")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is alone with one of them at the end."""
    items.sort(key=lambda item: (*LONGEST, item.path.stem).index(item.path.stem))


@pytest.fixture(scope="session")
def partitioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which digits5k is partitioned already; to be copied, not to be written to."""
    from benchmark.run import partitioning

    folder = tmp_path_factory.mktemp("partitioned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        partitioning.partitioned(compose([]))
    return folder / "data"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, partitioned: Path) -> Iterator[Path]:
    """A working directory with partitioned data; what commands change in the process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(partitioned, tmp_path / "data")
    log, on_terminate = logging.getLogger("benchmark"), signal.getsignal(signal.SIGTERM)
    handlers, propagate = log.handlers, log.propagate
    yield tmp_path
    log.handlers, log.propagate = handlers, propagate
    signal.signal(signal.SIGTERM, on_terminate)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of ``conf/`` to write in."""
    from benchmark.config import plugins

    copy = tmp_path / "conf"
    shutil.copytree(plugins.CONF, copy)
    monkeypatch.setattr(plugins, "CONF", copy)
    return copy


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with few attacks and defenses, for processes: nothing changes under them."""
    from tests.support.running import package_of

    return package_of(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def few_choices(package: Path) -> Iterator[None]:
    """The same attacks and defenses in this process."""
    from benchmark.config import plugins

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "CONF", package / "conf")
        yield


@pytest.fixture
def fresh_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What engines decide by measuring is neither taken from this machine nor left on it."""
    from benchmark.engine import choices

    monkeypatch.setattr(choices, "cache_folder", lambda: tmp_path / "cache")
