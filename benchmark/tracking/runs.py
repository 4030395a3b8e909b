"""The runs of an experiment in an MLflow store.

Every call here talks to the store at once and may raise or take as long as the server does;
:mod:`benchmark.tracking.tracker` keeps that away from the run. Importing this module imports
MLflow, which takes seconds.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from benchmark.figures import curves
from benchmark.record import Record
from benchmark.tracking import terms
from benchmark.tracking.terms import CellFacts

METRICS_PER_CALL = 1000
PARAMS_PER_CALL = 100
SAME_CELL_RUNS = 50


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


class Runs:
    """The runs of one experiment; a cell's run is known by its tags ``cell`` and ``suite``.

    Args:
        uri: of the store or tracking server.
        experiment: created if it does not exist.
        artifacts: folder for artifacts where no server keeps them.
        suite: name and parameters; its run is the parent of the cells' runs and is found
            again by its tags ``kind`` and ``suite``.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifacts: Path | None,
        suite: tuple[str, dict[str, Any]] | None,
    ):
        self._client = MlflowClient(uri)
        self._experiment = self._experiment_id(experiment, artifacts)
        self._open: dict[str, OpenRun] = {}
        self._suite = suite[0] if suite else None
        self._parent = self._suite_run(*suite) if suite else None

    def close_suite(self, status: str) -> None:
        """End the parent run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if self._parent is not None:
            self._client.set_terminated(self._parent, status)

    def start(self, facts: CellFacts) -> None:
        """Continue the cell's unfinished run or create one."""
        found = self._find(facts.cell)
        if found is not None and found.info.status == "FINISHED":
            found = None  # the cell runs anew: its old result stays as it is
        tags = facts.tags() | terms.git_tags()
        self._open[facts.cell] = self._reopen(facts, found, tags)

    def round(self, cell: str, round: int, metrics: Mapping[str, float | None], at: int) -> None:
        """Note a round's metrics, measured ``at`` milliseconds; :meth:`flush` sends them."""
        if cell in self._open:
            for name, value in metrics.items():
                self._open[cell].add(name, round, value, at)

    def flush(self) -> None:
        """Send what is noted."""
        for run in self._open.values():
            self._send(run)

    def finish(self, path: Path, partition: Path | None) -> bool:
        """Complete the run of the record at ``path`` and write its id into the record.

        Does nothing that was done before: twice is as good as once. Returns whether there was
        anything to log.
        """
        record = Record.read(path)
        tracked = self._is_finished(record.mlflow_run_id)
        if tracked and self._suite is None:
            return False
        run = self._open.get(record.cell) or self._found(record)
        if not run.finished:
            # The same for everyone who logs this file: a store keeps one of two equal metrics,
            # and what timed out may still arrive.
            at = path.stat().st_mtime_ns // 1_000_000
            self._complete(run, record, partition, at)
        if not tracked:
            record.with_run(run.id).write(path)
        return not run.finished

    def end(self, cell: str, status: str, reason: str | None = None) -> None:
        """End a cell's run without a record."""
        run = self._open.pop(cell, None)
        if run is None:
            return
        self._send(run)
        if reason is not None:
            self._client.set_tag(run.id, "failure", terms.cut(reason))
        self._client.set_terminated(run.id, status)

    def _found(self, record: Record) -> OpenRun:
        found = self._find(record.cell, any_suite=self._suite is None)
        if found is not None and found.info.status == "FINISHED":
            return OpenRun(found.info.run_id, finished=True)
        facts = CellFacts.of(record)
        return self._reopen(facts, found, facts.tags())

    def _complete(self, run: OpenRun, record: Record, partition: Path | None, at: int) -> None:
        for name, step, value in terms.metrics(record):
            run.add(name, step, value, at)
        self._send(run)
        tags = [RunTag(k, v) for k, v in terms.outcome_tags(record).items()]
        self._client.log_batch(run.id, tags=tags)
        data = Dataset(**terms.dataset(record, partition))
        context = InputTag("mlflow.data.context", "train")
        self._client.log_inputs(run.id, [DatasetInput(data, [context])])
        self._log_artifacts(run.id, record, partition)
        self._client.set_terminated(run.id, "FINISHED")
        self._open.pop(record.cell, None)

    def _log_artifacts(self, run_id: str, record: Record, partition: Path | None) -> None:
        text = json.dumps(asdict(record.with_run(run_id)), indent=1, ensure_ascii=False)
        self._client.log_text(run_id, text + "\n", "record.json")
        self._client.log_figure(run_id, curves(record), "curves.png")
        for name in ("card.png", "manifest.json"):
            if partition is not None and (partition / name).is_file():
                self._client.log_artifact(run_id, str(partition / name), "partition")

    def _reopen(self, facts: CellFacts, found: Run | None, tags: dict[str, str]) -> OpenRun:
        if self._suite is not None and self._parent is not None:
            tags |= {"suite": self._suite, "mlflow.parentRunId": self._parent}
        run = self._run(facts.cell, found, tags)
        opened = OpenRun(run.info.run_id, params=set(run.data.params))
        for key in run.data.metrics:
            history = self._client.get_metric_history(opened.id, key)
            opened.logged |= {(key, metric.step) for metric in history}
        params = [Param(k, v) for k, v in terms.parameters(facts.config) if k not in opened.params]
        for first in range(0, len(params), PARAMS_PER_CALL):
            self._client.log_batch(opened.id, params=params[first : first + PARAMS_PER_CALL])
        return opened

    def _run(self, name: str, found: Run | None, tags: dict[str, str]) -> Run:
        """``found``, running again under these tags, or a new run."""
        if found is None:
            return self._client.create_run(self._experiment, tags=tags, run_name=name)
        self._client.update_run(found.info.run_id, status="RUNNING")
        self._client.log_batch(found.info.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
        return found

    def _send(self, run: OpenRun) -> None:
        while run.pending:
            self._client.log_batch(run.id, metrics=run.pending[:METRICS_PER_CALL])
            del run.pending[:METRICS_PER_CALL]

    def _suite_run(self, name: str, params: dict[str, Any]) -> str:
        """The parent run, described anew where there are parameters.

        MLflow's own parameters are final, and a suite grows.
        """
        found = self._search(f"tags.kind = 'suite' and tags.suite = '{name}'", 1)
        tags = terms.SOURCE | {"kind": "suite", "suite": name}
        if params:
            tags["mlflow.note.content"] = terms.suite_note(name, params)
        return self._run(name, found[0] if found else None, tags).info.run_id

    def _find(self, cell: str, any_suite: bool = False) -> Run | None:
        """The newest run of this cell in this suite, or in any."""
        for run in self._search(f"tags.cell = '{cell}'", SAME_CELL_RUNS):
            if any_suite or run.data.tags.get("suite") == self._suite:
                return run
        return None

    def _search(self, query: str, limit: int) -> list[Run]:
        order = ["attributes.start_time DESC"]
        return list(
            self._client.search_runs([self._experiment], query, max_results=limit, order_by=order)
        )

    def _is_finished(self, run_id: str | None) -> bool:
        if run_id is None:
            return False
        try:
            info = self._client.get_run(run_id).info
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise
        return info.status == "FINISHED" and info.lifecycle_stage == "active"

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
