"""The runs of one experiment in an MLflow store, whatever they are of.

Every call here talks to the store at once and may raise or take as long as the server does.
Importing this module imports MLflow, which takes seconds.
"""

import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from benchmark.tracking import fields as terms
from benchmark.tracking.database import prepare
from benchmark.tracking.uri import fixed
from benchmark.utils.files import locked
from benchmark.utils.nested import digest
from benchmark.utils.urls import database_file

ALIKE_RUNS = 50
METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100


@dataclass
class OpenRun:
    """A cell's run while it is written to.

    Attributes:
        id: MLflow's run id.
        logged: metric names and steps that the store already holds.
        pending: metrics not yet sent.
        live: whether rounds are told while they are measured.
    """

    id: str
    logged: set[tuple[str, int]] = field(default_factory=set)
    pending: list[Metric] = field(default_factory=list)
    live: bool = False

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

    Attributes:
        client: MLflow's, of the store.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path | None):
        name = f"fedbackdoor-{os.getuid()}-{digest(fixed(uri))}.lock"
        self._lock = Path(tempfile.gettempdir()) / name
        with self._alone():
            if uri.startswith("sqlite") and artifacts and (file := database_file(uri)):
                prepare(file, artifacts)
            self.client = MlflowClient(fixed(uri))
            self._experiment = self._experiment_id(experiment, artifacts)

    def _alone(self) -> AbstractContextManager[None]:
        """While no other process of this machine looks for runs in this store or makes some."""
        return locked(self._lock)

    def opened(self, run: str, params: Iterable[tuple[str, str]]) -> OpenRun:
        """A run as the store has it, with those parameters that it has not yet."""
        found, opened = self.client.get_run(run), OpenRun(run)
        for key in found.data.metrics:
            history = self.client.get_metric_history(run, key)
            opened.logged |= {(key, metric.step) for metric in history}
        missing = [Param(*pair) for pair in terms.grown(params, found.data.params)]
        for first in range(0, len(missing), PARAMS_PER_CALL):
            self.client.log_batch(run, params=missing[first : first + PARAMS_PER_CALL])
        return opened

    def tag(self, run: str, tags: Mapping[str, str]) -> None:
        """Set a run's tags."""
        self.client.log_batch(run, tags=[RunTag(k, v) for k, v in tags.items()])

    def send(self, run: OpenRun) -> None:
        """Send what is noted of a run, what is read first before all else."""
        places = {name: place for place, name in enumerate(terms.FIRST.values())}
        run.pending.sort(key=lambda metric: places.get(metric.key, len(places)))
        while run.pending:
            self.client.log_batch(run.id, metrics=run.pending[:METRICS_PER_CALL])
            del run.pending[:METRICS_PER_CALL]

    def _run(self, name: str, found: Run | None, tags: dict[str, str], **known: str | None) -> Run:
        """``found``, running again under this name and these tags, or a new run.

        Args:
            name, found, tags: of the run.
            known: tags by which all who look for the run find it, as :meth:`_alike` has them.
        """
        if found is not None:
            self.client.update_run(found.info.run_id, "RUNNING", name)
            self.tag(found.info.run_id, tags)
            return found
        made = self.client.create_run(self._experiment, tags=tags, run_name=name)
        # Another machine may have made one meanwhile: the oldest is everybody's.
        twins = [run for run in self._alike(**known) if run.info.status == "RUNNING"]
        oldest = min([made, *twins], key=lambda run: (run.info.start_time, run.info.run_id))
        if oldest.info.run_id != made.info.run_id:
            self.client.delete_run(made.info.run_id)
        return oldest

    def _alike(self, **tags: str | None) -> list[Run]:
        """The runs with these tags, the newest first; None is a tag that is not there."""
        query = " and ".join(f"tags.`{key}` = '{v}'" for key, v in tags.items() if v is not None)
        order = ["attributes.start_time DESC"]
        found = self.client.search_runs([self._experiment], query, 1, ALIKE_RUNS, order)
        return [run for run in found if all(run.data.tags.get(k) == v for k, v in tags.items())]

    def _experiment_id(self, name: str, artifacts: Path | None) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is None:
            location = None if artifacts is None else (artifacts / name).absolute().as_uri()
            return self.client.create_experiment(name, location)
        if found.lifecycle_stage != "active":
            raise MlflowException(
                f"experiment {name} is deleted; `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}` brings it back"
            )
        return found.experiment_id
