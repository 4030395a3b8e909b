"""Records made up for tests: small, deterministic, shaped like what a suite writes.

``python -m tests.support.synthetic --update`` rewrites the golden leaderboards from them: a
deliberate act, to be followed by reading the difference.
"""

import argparse
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark import leaderboard
from benchmark.leaderboard.board import Leaderboard, Section
from benchmark.run.record import Cost, Curve, Record, Summary
from benchmark.utils.randomness import derive

GOLDEN = Path(__file__).parents[1] / "golden"

SETTING: dict[str, dict[str, Any]] = {
    "data": {"name": "digits5k", "path": None},
    "partition": {"name": "style", "users": 100},
    "model": {"name": "small"},
    "task": {"name": "writer_backdoor", "num_tasks": 10},
    "participation": {"name": "fixed_frequency", "frequency": 1},
    "federation": {"name": "fedavg", "rounds": 60, "cohort": 10},
    "engine": {"name": "cpu"},
}

DEFENSES: list[tuple[str, dict[str, Any], dict[str, tuple[float, float, float]]]] = [
    # name, parameters, attack -> (main, in-sample, held-out)
    ("mean", {}, {"none": (0.921, 0.012, 0.010), "boosted": (0.873, 0.930, 0.810)}),
    (
        "norm_clip",
        {"norm_bound": 3},
        {"none": (0.921, 0.012, 0.011), "boosted": (0.900, 0.730, 0.540)},
    ),
    (
        "norm_clip",
        {"norm_bound": 1},
        {"none": (0.920, 0.011, 0.010), "boosted": (0.917, 0.290, 0.170)},
    ),
    (
        "norm_clip",
        {"norm_bound": 0.5},
        {"none": (0.912, 0.010, 0.009), "boosted": (0.909, 0.034, 0.021)},
    ),
    (
        "norm_reject",
        {"norm_bound": 1},
        {"none": (0.919, 0.012, 0.012), "boosted": (0.918, 0.013, 0.012)},
    ),
    (
        "weak_dp",
        {"norm_bound": 0.5, "noise_std": 0.005},
        {"none": (0.899, 0.011, 0.013), "boosted": (0.896, 0.028, 0.019)},
    ),
    (
        "weak_dp",
        {"norm_bound": 0.5, "noise_std": 0.16},
        {"none": (0.093, 0.001, 0.001), "boosted": (0.093, 0.001, 0.001)},
    ),
]


def curve(value: float, rounds: int, every: int = 1) -> Curve:
    """A saturating curve whose last fifth is ``value`` throughout."""
    settled = 4 * rounds // 5
    at = sorted({*range(every - 1, rounds, every), rounds - 1})
    grown = [
        value * min(1.0, (1 - math.exp(-5 * (t + 1) / settled)) / (1 - math.exp(-5))) for t in at
    ]
    return Curve(
        at, [round(value if t >= settled else g, 6) for t, g in zip(at, grown, strict=True)]
    )


def record(
    attack: str = "none",
    defense: str = "mean",
    seed: int = 0,
    *,
    metrics: dict[str, float] | None = None,
    attack_parameters: dict[str, Any] | None = None,
    defense_parameters: dict[str, Any] | None = None,
    resolved: dict[str, Any] | None = None,
    setting: dict[str, dict[str, Any]] | None = None,
    overrides: list[str] | None = None,
    rounds: int = 20,
    notes: list[str] | None = None,
    run_id: str | None = None,
) -> Record:
    """One run.

    Args:
        attack, defense: names of the plug-ins.
        seed: of the run.
        metrics: metric name → its value at the end; the defaults are those of a sound model.
        attack_parameters, defense_parameters: parameters, which are explicit overrides too.
        resolved: parameters of the attack that no override names.
        setting: group → parameters that replace those of ``SETTING``; explicit overrides too.
        overrides: added as they are to the overrides.
        rounds: number of rounds.
        notes: of the record.
        run_id: of MLflow.
    """
    values = {
        "main_accuracy": 0.92,
        "backdoor_in_sample": 0.01,
        "backdoor_held_out": 0.01,
        "source_accuracy_targets": 0.95,
        **(metrics or {}),
    }
    config: dict[str, Any] = {group: dict(chosen) for group, chosen in SETTING.items()}
    config["attack"] = {"name": attack, **(attack_parameters or {}), **(resolved or {})}
    config["defense"] = {"name": defense, **(defense_parameters or {})}
    config["seed"] = seed
    chosen = [f"attack={attack}", f"defense={defense}"]
    chosen += [f"attack.{k}={v}" for k, v in (attack_parameters or {}).items()]
    chosen += [f"defense.{k}={v}" for k, v in (defense_parameters or {}).items()]
    for group, parameters in (setting or {}).items():
        config[group] = {**config[group], **parameters}
        chosen += [
            f"{group}={v}" if k == "name" else f"{group}.{k}={v}" for k, v in parameters.items()
        ]
    chosen += [*(overrides or []), f"seed={seed}"]
    digest = hashlib.sha256(json.dumps([config, chosen], sort_keys=True).encode()).hexdigest()
    sparse = ("main_accuracy", "source_accuracy_targets")
    curves = {n: curve(v, rounds, 5 if n in sparse else 1) for n, v in values.items()}
    return Record(
        cell=f"{attack}-{defense}-s{seed}-{digest[:8]}",
        overrides=chosen,
        config=config,
        data={
            "name": config["data"]["name"],
            "hash": "5a" * 32,
            "users": 100,
            "user_kind": "style users",
            "train_images": 4000,
            "test_images": 1000,
        },
        code={"version": "0.1.0", "fingerprint": "c0de" * 16},
        seed=seed,
        curves=curves,
        summary={n: Summary(v, v, v, None, None) for n, v in values.items()},
        weights_sha256=digest,
        cost=Cost(
            [0.12 + 0.01 * (seed % 3)] * rounds, [512.0] * rounds, "cpu", "cpu", "float32", {}
        ),
        notes=notes or [],
        mlflow_run_id=run_id,
    )


def suite(seeds: int = 3, rounds: int = 60) -> list[Record]:
    """A default suite as one might see it: two attacks, seven defenses, one of them collapsed."""
    records = []
    for defense, parameters, outcomes in DEFENSES:
        main, in_sample, held_out = outcomes["boosted"]
        bounded = (main + 0.004, 0.72 * in_sample, 0.7 * held_out)
        if defense == "norm_reject":
            bounded = (0.913, 0.262, 0.158)
        for attack, result in {**outcomes, "norm_bounded": bounded}.items():
            bound = {"norm_bound": parameters.get("norm_bound", 3)}
            for seed in range(seeds):
                records.append(
                    record(
                        attack,
                        defense,
                        seed,
                        metrics=_scattered(result, f"{attack}/{defense}/{parameters}", seed),
                        resolved=bound if attack == "norm_bounded" else None,
                        defense_parameters=parameters,
                        setting={"federation": {"rounds": rounds}},
                        rounds=rounds,
                        run_id=f"{derive(seed, 0, attack + defense + str(parameters)):032x}",
                    )
                )
    return records


def _scattered(result: tuple[float, float, float], cell: str, seed: int) -> dict[str, float]:
    def noisy(value: float, metric: str, scale: float) -> float:
        unit = derive(seed, 0, f"{cell}/{metric}") / 2**63 - 0.5
        return round(min(max(value + scale * unit, 0.0), 1.0), 4)

    main, in_sample, held_out = result
    return {
        "main_accuracy": noisy(main, "main", 0.006),
        "backdoor_in_sample": noisy(in_sample, "in", 0.4 * in_sample * (1 - in_sample) + 0.002),
        "backdoor_held_out": noisy(held_out, "out", 0.4 * held_out * (1 - held_out) + 0.002),
        "source_accuracy_targets": noisy(main * (1 - 0.6 * held_out), "source", 0.02),
    }


def only(records: list[Record]) -> Section:
    """The only section of their leaderboard."""
    (section,) = leaderboard.build(records).sections
    return section


def pair(defense, *, unattacked=None, attacked=None, seeds=(0, 1), **options):
    """An unattacked and a boosted run of a defense for each seed."""
    return [
        record(attack, defense, seed, metrics=metrics, **options)
        for seed in seeds
        for attack, metrics in (("none", unattacked), ("boosted", attacked))
    ]


def undefended(seeds=(0, 1)):
    """The reference, and a boosted attack that succeeds."""
    return pair("mean", attacked={"backdoor_in_sample": 0.9}, seeds=seeds)


def terminal(board: Leaderboard, width: int = 100) -> str:
    """What the terminal shows."""
    text = io.StringIO()
    Console(file=text, width=width).print(leaderboard.to_terminal(board))
    return text.getvalue()


def golden_cases() -> dict[str, list[Record]]:
    """Golden file → its records: a full suite; and two settings, a run missing, one seed."""
    small = {"participation": {"frequency": 5}}
    mixed = [
        record(a, d, seed, metrics=m, setting=s)
        for s in ({}, small)
        for seed in (0,)
        for a, d, m in (
            ("none", "mean", {}),
            ("boosted", "mean", {"backdoor_in_sample": 0.9 if not s else 0.3}),
            ("none", "norm_reject", {"main_accuracy": 0.91}),
            *([("boosted", "norm_reject", {"backdoor_in_sample": 0.05})] if not s else []),
        )
    ]
    return {"leaderboard": suite(), "leaderboard-mixed": mixed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="rewrite the golden leaderboards")
    parser.add_argument("--write", type=Path, help="write all outputs of the suite to this folder")
    arguments = parser.parse_args()
    if arguments.update:
        for name, records in golden_cases().items():
            board = leaderboard.build(records, name)
            (GOLDEN / f"{name}.json").write_text(leaderboard.to_json(board), encoding="utf-8")
            (GOLDEN / f"{name}.md").write_text(leaderboard.to_markdown(board), encoding="utf-8")
    if arguments.write:
        leaderboard.write("synthetic", suite(), arguments.write)


if __name__ == "__main__":
    main()
