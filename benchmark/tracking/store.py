"""The runs of one experiment in an MLflow store, whatever they are of.

Every call here talks to the store at once and may raise or take as long as the server does.
Importing this module imports MLflow, which takes seconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from benchmark.tracking import fields as terms
from benchmark.tracking.uri import fixed

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100


@dataclass
class OpenRun:
    """A cell's run while it is written to.

    Attributes:
        id: MLflow's run id.
        logged: metric names and steps that the store already holds.
        params: names of parameters that the store already holds.
        pending: metrics not yet sent.
        finished: whether the store holds all of it.
    """

    id: str
    logged: set[tuple[str, int]] = field(default_factory=set)
    params: set[str] = field(default_factory=set)
    pending: list[Metric] = field(default_factory=list)
    finished: bool = False

    def add(self, name: str, step: int, value: float | None, timestamp: int) -> None:
        """Note one measurement, unless it has no value or the store already holds it."""
        key = terms.allowed(name)
        if value is not None and (key, step) not in self.logged:
            self.logged.add((key, step))
            self.pending.append(Metric(key, float(value), timestamp, step))


class Store:
    """Runs of an experiment.

    Args:
        uri: of the store or tracking server.
        experiment: created if it does not exist.
        artifacts: folder for artifacts where no server keeps them.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path | None):
        self._client = MlflowClient(fixed(uri))
        self._experiment = self._experiment_id(experiment, artifacts)

    def opened(self, run: str, params: Mapping[str, str]) -> OpenRun:
        """A run as the store has it, with those parameters that it has not yet."""
        found = self._client.get_run(run)
        opened = OpenRun(run, params=set(found.data.params))
        self._log_params(opened, params.items())
        self._load_metrics(opened, found)
        return opened

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set a run's tags."""
        self._client.log_batch(run, tags=[RunTag(k, v) for k, v in tags.items()])

    def send(self, run: OpenRun) -> None:
        """Send what is noted of a run."""
        while run.pending:
            self._client.log_batch(run.id, metrics=run.pending[:METRICS_PER_CALL])
            del run.pending[:METRICS_PER_CALL]

    def end_run(self, run: str, status: str) -> None:
        """End a run that is no cell's."""
        self._client.set_terminated(run, status)

    def artifact(self, run: str, path: Path) -> None:
        """Keep a file with a run."""
        self._client.log_artifact(run, str(path))

    def _load_metrics(self, opened: OpenRun, run: Run) -> None:
        for key in run.data.metrics:
            history = self._client.get_metric_history(opened.id, key)
            opened.logged |= {(key, metric.step) for metric in history}

    def _log_params(self, opened: OpenRun, params: Iterable[tuple[str, str]]) -> None:
        missing = [Param(k, v) for k, v in params if k not in opened.params]
        for first in range(0, len(missing), PARAMS_PER_CALL):
            self._client.log_batch(opened.id, params=missing[first : first + PARAMS_PER_CALL])

    def _run(self, name: str, found: Run | None, tags: dict[str, str]) -> Run:
        """``found``, running again under these tags, or a new run."""
        if found is None:
            return self._client.create_run(self._experiment, tags=tags, run_name=name)
        self._client.update_run(found.info.run_id, status="RUNNING")
        self._client.log_batch(found.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        return found

    def _search(self, query: str, limit: int) -> list[Run]:
        order = ["attributes.start_time DESC"]
        return list(
            self._client.search_runs([self._experiment], query, max_results=limit, order_by=order)
        )

    def _experiment_id(self, name: str, artifacts: Path | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = None if artifacts is None else (artifacts / name).absolute().as_uri()
            return self._client.create_experiment(name, location)
        if found.lifecycle_stage != "active":
            raise MlflowException(
                f"experiment {name} is deleted; `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}` brings it back"
            )
        return found.experiment_id
