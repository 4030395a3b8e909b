"""A study in MLflow's terms, read from the files that it left; what was logged is not logged again.

As in :mod:`benchmark.tracking.runs`, every call talks to the store at once.
"""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmark.results import trials
from benchmark.results.trials import Trial
from benchmark.run.record import Record
from benchmark.tracking import fields as terms
from benchmark.tracking.runs import Runs

STATUS = {"complete": "FINISHED", "pruned": "FINISHED", "fail": "FAILED"}
FILES = ("tuning.json", "tuning.md", "tuning.html", trials.FILE, "*.png")


def log(runs: Runs, folder: Path, progress: Callable[[], None]) -> None:
    """Describe a study's run; its trials become children of it, and their cells of those.

    Args:
        runs: of the store.
        folder: of the study.
        progress: told of every trial and file, as all of them take long.
    """
    studies, result = trials.read(folder), _result(folder)
    parent = runs.parent
    described = result.get("description") or (studies[0].description if studies else {})
    opened = runs.opened(parent, _parameters(described))
    runs.tag(parent, {"study": ", ".join(study.name for study in studies)} | _best(result))
    for name, value in _scores(result):
        opened.add(name, 0, value, 0)
    runs.send(opened)
    for study in studies:
        cells = _cells(study, folder)
        for trial in study.trials:
            _log_trial(runs, study.name, trial, cells.get(frozenset(trial.overrides), []))
            progress()
    for pattern in FILES:
        for path in sorted(folder.glob(pattern)):
            runs.client.log_artifact(parent, str(path))
            progress()


def _log_trial(runs: Runs, study: str, trial: Trial, cells: list[str]) -> None:
    tags = {"kind": "trial", "study": study, "trial": str(trial.number), "state": trial.state}
    run, ended = runs.child(f"trial {trial.number}", tags)
    if not ended:
        opened = runs.opened(run, terms.parameters(trial.params))
        for metric, value in _metrics(trial):
            opened.add(metric, 0, value, 0)
        for step, value in trial.curve.items():
            opened.add("value_so_far", step, value, 0)
        runs.send(opened)
        runs.tag(run, {"overrides": terms.cut(" ".join(trial.overrides))})
    for cell in cells:
        runs.adopt(cell, run)
    if not ended:
        runs.client.set_terminated(run, STATUS[trial.state])


def _metrics(trial: Trial) -> Iterator[tuple[str, float]]:
    for i, value in enumerate(trial.values):
        yield "value" if len(trial.values) == 1 else f"value_{i}", value
    for name, amount in trial.constraints.items():
        yield f"constraint/{name}", amount


def _parameters(described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from terms.parameters({k: v for k, v in described.items() if k not in ("space", "code")})
    yield "space", terms.cut(json.dumps(described.get("space"), default=str))


def _cells(study: trials.Trials, folder: Path) -> dict[frozenset[str], list[str]]:
    """What trials chose → the cells on the tuning seeds that chose the same."""
    found: dict[frozenset[str], list[str]] = {}
    seeds = study.description.get("seeds", [])
    group = {"attacker": "attack"}.get(str(study.description.get("problem")), "defense")
    for path in sorted((folder / "records").glob("*.json")):
        record = Record.read(path)
        if record.seed in seeds and _is_met(record, study.description):
            own = (o for o in record.overrides if o.startswith((f"{group}=", f"{group}.")))
            found.setdefault(frozenset(own), []).append(record.cell)
    return found


def _is_met(record: Record, described: dict[str, Any]) -> bool:
    """Whether a study holds its trials against the other side of a record.

    The studies of a race share a folder: there the same attack met other defenses too.
    """
    if described.get("problem") == "attacker":
        return bool(record.config["defense"] == described["configuration"]["defense"])
    attack = (o for o in record.overrides if o.startswith(("attack=", "attack.")))
    return shlex.join(attack) in ("attack=none", *described.get("attacks", ()))


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "tuning.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _best(result: dict[str, Any]) -> dict[str, str]:
    """The named record: what won and how to run it."""
    if not result.get("winner"):
        return {}
    overrides = " ".join(result["winner"]["overrides"])
    command = str(result["command"])
    return {"best.overrides": terms.cut(overrides), "best.command": terms.cut(command)}


def _scores(result: dict[str, Any]) -> Iterator[tuple[str, float]]:
    if winner := result.get("winner"):
        backdoor = list(winner["backdoor"].values())
        yield "best/backdoor_in_sample", sum(backdoor) / len(backdoor)
    if result.get("gain"):
        yield "best/gain", result["gain"]["mean"]
