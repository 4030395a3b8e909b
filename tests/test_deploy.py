"""``deploy/``: searches and runs on PostgreSQL and an MLflow server, by the commands it states."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.serving import free_port, started, stop

DEPLOY = Path(__file__).parents[1] / "deploy"
POSTGRES = shutil.which("postgres")
TINY = (
    "federation.rounds=2 federation.clients_per_round=2 federation.local_epochs=1 task.num_tasks=2"
)


def test_nothing_is_open_to_others_unless_told_and_no_password_is_written_down() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("${BIND:-127.0.0.1}:") for port in ports)
    assert services["ray"]["command"].count("address=${BIND:-127.0.0.1}") == 1
    assert "dashboard-host=${BIND:-127.0.0.1}" in services["ray"]["command"]
    words = (DEPLOY / "compose.yaml").read_text().split("PASSWORD")[1:]
    assert all(word[0] in ":}" for word in words)


@dataclass(frozen=True)
class Database:
    """A PostgreSQL server of this machine."""

    port: int

    def url(self, name: str, scheme: str = "postgresql") -> str:
        return f"{scheme}://fedbackdoor@127.0.0.1:{self.port}/{name}"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """With the databases of ``databases.sql``."""
    assert POSTGRES
    programs, port = Path(POSTGRES).resolve().parent, free_port()
    # PostgreSQL refuses to run as root, and another user may not look into pytest's folders.
    data = Path(tempfile.mkdtemp(prefix="postgres-"))
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if as_user:
        shutil.chown(data, "postgres")
    init = [str(programs / "initdb"), "-D", str(data), "-U", "fedbackdoor", "-A", "trust"]
    subprocess.run([*as_user, *init], check=True, capture_output=True, cwd="/")
    own = ["-p", str(port), "-k", str(data), "-c", "listen_addresses=127.0.0.1"]
    command = [*as_user, str(programs / "postgres"), "-D", str(data), *own]
    server, _ = started(command, port, tmp_path, Path("/"))
    try:
        to = ["-h", "127.0.0.1", "-p", str(port), "-U", "fedbackdoor", "postgres"]
        script = str(DEPLOY / "databases.sql")
        subprocess.run(["psql", *to, "-v", "ON_ERROR_STOP=1", "-f", script], check=True)
        yield Database(port)
    finally:
        stop(server)
        shutil.rmtree(data)


@pytest.mark.slow
@pytest.mark.skipif(POSTGRES is None, reason="no PostgreSQL")
def test_a_suite_and_a_search_on_servers(tmp_path: Path, database: Database) -> None:
    psycopg = pytest.importorskip("psycopg")
    port = free_port()
    mlflow = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    given = {
        "MLFLOW_BACKEND_STORE_URI": database.url("mlflow", "postgresql+psycopg"),
        "MLFLOW_ARTIFACTS_DESTINATION": str(tmp_path / "artifacts"),
    }
    command = ["env", *(f"{k}={v}" for k, v in given.items()), sys.executable, "-m", *mlflow]
    (tmp_path / "mlflow").mkdir()
    server, address = started(command, port, tmp_path / "mlflow")
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments: str) -> None:
        words = [sys.executable, "-m", "benchmark", *arguments]
        done = subprocess.run(words, cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "not tracked" not in done.stderr + done.stdout

    try:
        run("suite", "smoke", f"tracking.uri={address}")
        search = ["tune", "attack", "defense=norm_clip", "--trials=2", "--best=1"]
        storage = ["--storage", database.url("optuna"), "--seeds=2", "--fresh=3", "--pruner=none"]
        run(*search, *storage, f"tracking.uri={address}", *TINY.split())
    finally:
        stop(server)
    with psycopg.connect(database.url("mlflow")) as found:
        kinds = "SELECT value FROM tags WHERE key = 'kind' AND value = 'cell'"
        assert len(found.execute(kinds).fetchall()) >= 4
        open_ = "SELECT count(*) FROM runs WHERE status != 'FINISHED'"
        assert found.execute(open_).fetchone() == (0,)
    with psycopg.connect(database.url("optuna")) as found:
        done = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
        assert found.execute(done).fetchone() == (2,)
    assert list((tmp_path / "artifacts").rglob("leaderboard.html"))
