"""The runs of an experiment in an MLflow store.

Every call here talks to the store at once and may raise or take as long as the server does;
:mod:`benchmark.tracking.tracker` keeps that away from the run. Importing this module imports
MLflow, which takes seconds.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Run, RunTag
from mlflow.exceptions import MlflowException

from benchmark.report.curves import curves
from benchmark.run.record import Record
from benchmark.tracking import fields as terms
from benchmark.tracking.fields import CellFacts
from benchmark.tracking.store import OpenRun, Store

SAME_CELL_RUNS = 50


class Runs(Store):
    """The runs of one experiment; a cell's run is known by its tags ``cell`` and ``suite``.

    Args:
        uri: of the store or tracking server.
        experiment: created if it does not exist.
        artifacts: folder for artifacts where no server keeps them.
        suite: name, parameters and kind; its run is the parent of the cells' runs and is found
            again by its tags ``kind`` and ``suite``.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        artifacts: Path | None,
        suite: tuple[str, dict[str, Any], str] | None,
    ):
        super().__init__(uri, experiment, artifacts)
        self._open: dict[str, OpenRun] = {}
        self._suite = suite[0] if suite else None
        self._parent = self._suite_run(*suite) if suite else None

    def close_suite(self, status: str) -> None:
        """End the parent run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        if self._parent is not None:
            self._client.set_terminated(self._parent, status)

    @property
    def parent(self) -> str:
        """The id of the suite's run."""
        assert self._parent is not None
        return self._parent

    def child(self, name: str, tags: dict[str, str]) -> tuple[str, bool]:
        """The child of the suite's run with these tags, made where there is none.

        Returns:
            Its id, and whether it has ended.
        """
        tags = tags | {"mlflow.parentRunId": self.parent}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = self._search(query, 1)
        if found and found[0].info.status != "RUNNING":
            return found[0].info.run_id, True
        return self._run(name, found[0] if found else None, terms.SOURCE | tags).info.run_id, False

    def adopt(self, cell: str, run: str) -> None:
        """Make a cell's run a child of another run than the suite's."""
        found = self._find(cell)
        if found is not None and found.data.tags.get("mlflow.parentRunId") == self.parent:
            self._client.set_tag(found.info.run_id, "mlflow.parentRunId", run)

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
            self.send(run)

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
        self.send(run)
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
        self.send(run)
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
        self._load_metrics(opened, run)
        self._log_params(opened, terms.parameters(facts.config))
        return opened

    def _suite_run(self, name: str, params: dict[str, Any], kind: str) -> str:
        """The parent run, described anew where there are parameters.

        MLflow's own parameters are final, and a suite grows.
        """
        found = self._search(f"tags.kind = '{kind}' and tags.suite = '{name}'", 1)
        tags = terms.SOURCE | {"kind": kind, "suite": name}
        if params:
            tags["mlflow.note.content"] = terms.suite_note(name, params)
        return self._run(name, found[0] if found else None, tags).info.run_id

    def _find(self, cell: str, any_suite: bool = False) -> Run | None:
        """The newest run of this cell in this suite, or in any."""
        for run in self._search(f"tags.cell = '{cell}'", SAME_CELL_RUNS):
            if any_suite or run.data.tags.get("suite") == self._suite:
                return run
        return None

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
