"""Evidence made up for tests: the suites of ``conf/reproduction`` with curves of one's choice.

``python -m tests.support.evidence FOLDER`` writes the report of it, to be looked at.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmark.config.compose import compose
from benchmark.reproduction import output, profile
from benchmark.reproduction.evidence import Evidence, Line
from benchmark.run.record import Cost, Curve, Record
from benchmark.run.recorder import summarize
from tests.support.synthetic import curve

PARAMETERS = 56_970
UNIT = 1.5
SPARSE = ("main_accuracy", "source_accuracy_targets", "source_accuracy_all")

Outcome = Callable[[dict[str, Any], int], dict[str, float]]
"""Configuration and seed → metric → its mean over the last fifth of the rounds."""


def plausible(resolved: dict[str, Any], seed: int) -> dict[str, float]:
    """What one might see."""
    attack, defense = resolved["attack"]["name"], resolved["defense"]
    noise = defense.get("noise_std", 0.0) / (1 if defense.get("noise_on") == "average" else 10)
    main = 0.1 if noise > 0.3 else 0.92 - 0.1 * noise + 0.004 * (seed - 1)
    found = {
        "main_accuracy": main,
        "backdoor_in_sample": 0.01,
        "backdoor_held_out": 0.01,
        "source_accuracy_targets": 0.95,
        "honest_norm_median": 0.4 + 0.01 * seed,
        "honest_norm_max": 0.8 + 0.01 * seed,
    }
    if attack == "none":
        return found
    share = resolved["participation"].get("fraction") or 1 / (
        resolved["participation"].get("frequency", 1) * resolved["federation"]["clients_per_round"]
    )
    strength = min(1.0, 12 * share) if attack == "boosted" else min(0.9, 8 * share)
    if "norm_bound" in defense:
        strength *= min(1.0, defense["norm_bound"] / 5)
    strength *= (30 / resolved["task"]["num_tasks"]) ** 0.5 * (0.6 if noise > 0.03 else 1.0)
    in_sample = min(0.98, strength + 0.02 * (seed - 1) * (1 - strength))
    found["backdoor_in_sample"] = max(0.0, in_sample)
    found["backdoor_held_out"] = max(0.0, 0.8 * in_sample)
    return found


def evidence(
    outcome: Outcome = plausible,
    rounds: int = 10,
    suites: Iterable[str] = (),
    missing: Callable[[dict[str, Any], int], bool] = lambda resolved, seed: False,
    user_kind: str = "style users",
) -> Evidence:
    """All suites of the quick profile, or those named, and the honest one beside them.

    Args:
        outcome: what every federation came to.
        rounds: T.
        suites: names of those to make; all if none is named.
        missing: configuration and seed → whether that record is left out.
        user_kind: of the data.
    """
    scale = profile.Profile.read("quick")
    protocol = {"rounds": rounds, "clients_per_round": 10}
    known = profile.values(protocol, 30, PARAMETERS, UNIT)
    made = profile.suites(scale, known, [f"federation.rounds={rounds}"])
    wanted = {*suites, "norms"} if suites else set(made)
    lines: dict[str, list[Line]] = {}
    records: dict[str, Record] = {}
    for name, suite in made.items():
        if name not in wanted:
            continue
        lines[name] = []
        for point in suite.points():
            line = Line(point, [])
            for seed in scale.seeds:
                overrides = [*suite.overrides, *point, f"seed={seed}"]
                found = record(overrides, seed, outcome, rounds, user_kind)
                line.cells.append(found.cell)
                if not missing(found.config, seed):
                    records[found.cell] = found
            lines[name].append(line)
    return Evidence(
        profile="quick",
        description=scale.description,
        command="python -m benchmark reproduce quick",
        date="2026-11-22",
        unit=UNIT,
        values=known,
        seeds=scale.seeds,
        descriptions={name: made[name].description for name in lines},
        lines=lines,
        records=records,
        failures={},
    )


def record(
    overrides: list[str], seed: int, outcome: Outcome, rounds: int, user_kind: str
) -> Record:
    """One federation that came to ``outcome``."""
    resolved = compose(overrides)
    digest = hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()
    curves = {
        metric: curve(value, rounds, 5 if metric in SPARSE else 1)
        for metric, value in outcome(resolved, seed).items()
    }
    curves["num_compromised"] = _compromised(resolved, rounds)
    attack, defense = resolved["attack"]["name"], resolved["defense"]["name"]
    return Record(
        cell=f"{attack}-{defense}-s{seed}-{digest[:12]}",
        overrides=overrides,
        config=resolved,
        data={
            "name": "digits5k",
            "hash": "5a" * 32,
            "users": 100,
            "user_kind": user_kind,
            "train_images": 4000,
            "test_images": 1000,
        },
        code={"version": "0.1.0", "fingerprint": "c0de" * 16},
        seed=seed,
        curves=curves,
        summary={m: summarize(c, curves["num_compromised"], rounds) for m, c in curves.items()},
        weights_sha256=digest,
        cost=Cost([0.1] * rounds, [512.0] * rounds, "cpu", "cpu (compiled)", "float32 strict", {}),
    )


def _compromised(resolved: dict[str, Any], rounds: int) -> Curve:
    """Rounds with a compromised client: in a window, or by frequency."""
    chosen = resolved["participation"]
    first, end = chosen.get("window") or (0, rounds)
    every = chosen.get("frequency", 1)
    attacked = [
        resolved["attack"]["name"] != "none" and first <= t < end and t % every == every // 2
        for t in range(rounds)
    ]
    return Curve(list(range(rounds)), [float(a) for a in attacked])


if __name__ == "__main__":
    for path in output.write(evidence(rounds=40), Path(sys.argv[1])):
        print(path)
