"""The runs of an experiment in an MLflow store.

Every call here talks to the store at once and may raise or take as long as the server does;
:mod:`benchmark.tracking.tracker` keeps that away from the run. Importing this module imports
MLflow, which takes seconds.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Run

from benchmark.report.curves import curves
from benchmark.run.record import Record
from benchmark.tracking import fields as terms
from benchmark.tracking.fields import CellFacts
from benchmark.tracking.store import OpenRun, Store


class Runs(Store):
    """The runs of one experiment; a cell's run is known by its tags ``cell`` and ``suite``.

    Args:
        uri: of the store or tracking server.
        experiment: created if it does not exist.
        artifacts: folder for artifacts where no server keeps them.
        suite: name, parameters and kind; its run is the parent of the cells' runs and is found
            again by its tags ``kind`` and ``suite``.

    Attributes:
        parent: the id of the suite's run; empty without a suite.
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
        self._suite: str | None
        self._suite, params, self._kind = suite or (None, {}, "suite")
        self._shared, self._has_failed = params.get("overrides", ()), False
        with self._alone():
            self.parent = self._suite_run(*suite) if suite else ""

    def close(self) -> None:
        """End cells that neither finished nor failed, and then their suite, as ``KILLED``."""
        status = "KILLED" if self._open else "FAILED" if self._has_failed else "FINISHED"
        for cell in list(self._open):
            self.end(cell, "KILLED")
        if self.parent:
            self.client.set_terminated(self.parent, status)

    def result(
        self,
        metrics: Mapping[str, float],
        files: Iterable[tuple[str, str]],
        progress: Callable[[], None],
    ) -> None:
        """Give the suite's run what its cells come to: metrics, and names and texts of files.

        ``progress`` is told of every file, as one may take long.
        """
        known, at = self.client.get_run(self.parent).data.metrics, int(time.time() * 1000)
        # The page of a run shows them as they came.
        named = {terms.allowed(name): metrics[name] for name in sorted(metrics)}
        changed = [Metric(k, v, at, 0) for k, v in named.items() if known.get(k) != v]
        self.send(OpenRun(self.parent, pending=changed))
        for name, text in files:
            progress()
            self.client.log_text(self.parent, text, name)

    def child(self, name: str, tags: dict[str, str]) -> tuple[str, bool]:
        """The child of the suite's run with these tags, made where there is none.

        Returns:
            Its id, and whether it has ended.
        """
        tags = tags | {"mlflow.parentRunId": self.parent}
        with self._alone():
            found = next(iter(self._alike(**tags)), None)
            if found and found.info.status != "RUNNING":
                return found.info.run_id, True
            return self._run(name, found, terms.SOURCE | tags, **tags).info.run_id, False

    def adopt(self, cell: str, run: str) -> None:
        """Make a cell's run a child of another run than the suite's."""
        for found in self._alike(cell=cell, suite=self._suite)[:1]:
            if found.data.tags.get("mlflow.parentRunId") == self.parent:
                self.client.set_tag(found.info.run_id, "mlflow.parentRunId", run)

    def start(self, facts: CellFacts) -> None:
        """Continue the cell's unfinished run or create one."""
        with self._alone():
            found = _unfinished(self._alike(cell=facts.cell, suite=self._suite))
            self._open[facts.cell] = self._reopen(facts, found, facts.tags() | terms.git_tags())

    def round(self, cell: str, round: int, metrics: Mapping[str, float | None], at: int) -> None:
        """Note a round's metrics, measured ``at`` milliseconds; :meth:`flush` sends them."""
        if cell in self._open:
            self._open[cell].live = True
            for name, step, value in terms.measured(round, metrics):
                self._open[cell].add(name, step, value, at)

    def flush(self) -> None:
        """Send what is noted of cells whose main accuracy was measured once.

        Not every round measures it, and the page of a run shows metrics as they came.
        """
        for run in self._open.values():
            is_measured = any(name == terms.FIRST["main_accuracy"] for name, _ in run.logged)
            with self._alone():
                if run.pending and is_measured and not self._is_finished(run):
                    self.send(run)

    def finish(self, path: Path, partition: Path | None) -> bool:
        """Complete the run of the record at ``path`` and write its id into the record.

        Does nothing that was done before: twice is as good as once, and so are two processes that
        waited for the same record. Returns whether there was anything to log.
        """
        with self._alone():
            record = Record.read(path)
            # The same for everyone who logs this file: a store keeps one of two equal metrics,
            # and what timed out may still arrive.
            at = path.stat().st_mtime_ns // 1_000_000
            own, alike = self._open.get(record.cell), self._alike(cell=record.cell)
            tracked = any(run.info.run_id == record.mlflow_run_id for run in _finished(alike))
            if self._suite is not None:
                alike = [run for run in alike if run.data.tags.get("suite") == self._suite]
            done = _complete(alike, record, is_new=own is not None)
            is_missing = done is None
            if done is None:
                facts, run = CellFacts.of(record), own
                # Who was told of no round does not know what the store holds by now.
                if run is None or not run.live:
                    run = self._reopen(facts, _unfinished(alike), facts.tags())
                self._log(run, record, partition, at)
                done = run.id
            if own and own.id != done:
                self.client.delete_run(own.id)
            self._open.pop(record.cell, None)
            if not tracked:
                record.with_run(done).write(path)
            return is_missing

    def end(self, cell: str, status: str, reason: str | None = None) -> None:
        """End a cell's run without a record."""
        # In a study that is a finding: an attack that breaks the model.
        self._has_failed |= status == "FAILED" and self._kind == "suite"
        run = self._open.pop(cell, None)
        if run is None or self._is_finished(run):
            return
        self.send(run)
        if reason is not None:
            self.client.set_tag(run.id, "failure", terms.cut(reason))
        self.client.set_terminated(run.id, status)

    def _log(self, run: OpenRun, record: Record, partition: Path | None, at: int) -> None:
        for name, step, value in terms.metrics(record):
            run.add(name, step, value, at)
        self.send(run)
        self.tag(run.id, terms.outcome_tags(record))
        data = Dataset(**terms.dataset(record, partition))
        context = InputTag("mlflow.data.context", "train")
        self.client.log_inputs(run.id, [DatasetInput(data, [context])])
        text = json.dumps(asdict(record.with_run(run.id)), indent=1, ensure_ascii=False)
        self.client.log_text(run.id, text + "\n", "record.json")
        self.client.log_figure(run.id, curves(record), "curves.png")
        for name in ("card.png", "manifest.json"):
            if partition is not None and (partition / name).is_file():
                self.client.log_artifact(run.id, str(partition / name), "partition")
        self.client.set_terminated(run.id, "FINISHED")

    def _reopen(self, facts: CellFacts, found: Run | None, tags: dict[str, str]) -> OpenRun:
        if self._suite is not None:
            tags |= {"suite": self._suite, "mlflow.parentRunId": self.parent}
        if found is not None and "failure" in found.data.tags:
            self.client.delete_tag(found.info.run_id, "failure")
        name = terms.run_name(facts, self._shared)
        run = self._run(name, found, tags, cell=facts.cell, suite=self._suite)
        return self.opened(run.info.run_id, terms.parameters(facts.config))

    def _suite_run(self, name: str, params: dict[str, Any], kind: str) -> str:
        """The parent run, described anew where there are parameters."""
        known = {"kind": kind, "suite": name}
        tags = terms.SOURCE | known
        if params:
            tags["mlflow.note.content"] = terms.suite_note(name, params)
        run = self._run(name, next(iter(self._alike(**known)), None), tags, **known)
        if kind == "suite":
            self.opened(run.info.run_id, terms.parameters(params))
        return run.info.run_id

    def _is_finished(self, run: OpenRun) -> bool:
        """Whether somebody else completed it from the record meanwhile."""
        return self.client.get_run(run.id).info.status == "FINISHED"


def _finished(alike: list[Run]) -> list[Run]:
    return [run for run in alike if run.info.status == "FINISHED"]


def _unfinished(alike: list[Run]) -> Run | None:
    """The newest, which the cell goes on with; where it is finished, the cell runs anew."""
    return None if _finished(alike[:1]) else next(iter(alike), None)


def _complete(alike: list[Run], record: Record, is_new: bool) -> str | None:
    """The run that holds all of this record; runs of earlier versions do not say which one."""
    for run in _finished(alike):
        execution, found = run.data.tags.get("execution"), str(run.info.run_id)
        is_taken = execution is None and run is alike[0] and not is_new
        if is_taken or execution == terms.execution(record) or found == record.mlflow_run_id:
            return found
    return None
