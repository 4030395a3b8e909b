"""What is said of a study of defenses and of a race: values on fresh seeds, with intervals."""

import json
from dataclasses import replace
from pathlib import Path

from benchmark.report.numbers import MINUS, NOTHING
from benchmark.results.statistics import Estimate
from benchmark.tuning.attack_sections import UNTRIED, AttackReport
from benchmark.tuning.defense_sections import DefenseReport
from benchmark.tuning.problem import Evaluation, FinishedTrial
from benchmark.tuning.race import Exploitability, Move, Pair, Race, Regret, Response
from benchmark.tuning.race_sections import RaceReport
from benchmark.tuning.reevaluation import Reevaluated, Reevaluation, best
from tests.support.searches import markdown

SEEDS = (1000, 1001, 1002)
FREE, DEAR = [0.0, 0.01, -0.01], [0.1, 0.04, 0.02]


def tried(number: int, value: float, main: float | None = None) -> FinishedTrial:
    values = (value,) if main is None else (value, main)
    return FinishedTrial(
        number, (f"defense=d{number}",), Evaluation(values, {"main": 0.0}, {}), None
    )


def again(name: str, backdoor: list[float], cost: list[float], trial: int | None) -> Reevaluated:
    by_seed = [dict(zip(SEEDS, x, strict=True)) for x in (backdoor, cost)]
    return Reevaluated(
        *by_seed, ("attack=a",), {}, 0.05, overrides=(f"defense={name}",), trial=trial, found=0.1
    )


def report(candidates: list[Reevaluated], fixed: list[Reevaluated]) -> DefenseReport:
    described = {
        "sampler": "tpe",
        "seeds": [0, 1],
        "attacks": {"attack=a": {}, "attack=b": {}},
        "space": {"d": {}, "e": {}},
        "directions": ["minimize"],
        "configuration": {"federation": {"rounds": 3}},
    }
    trials = [tried(n, 0.1 * n) for n in range(4)]
    result = Reevaluation(list(SEEDS), fixed, candidates, "minimize")
    return DefenseReport("s", "sqlite:///t.db", ("data=x",), described, trials, result)


def test_the_winner_lets_least_through_and_is_feasible_on_fresh_seeds() -> None:
    found = [
        again("dear", [0, 0, 0], DEAR, 0),
        again("good", [0.1, 0.2, 0.3], FREE, 1),
        again("late", [0, 0, 0], FREE, 2),
    ]
    fixed = [
        again("weak", [0.9, 0.9, 0.9], FREE, None),
        again("best", [0.5, 0.5, 0.8], FREE, None),
        again("no", [0, 0, 0], DEAR, None),
    ]
    made = report(found, fixed)
    assert made.reevaluation.winner is found[1]
    assert made.reevaluation.strongest_fixed is fixed[1]
    assert made.verdict() == (
        f"The tuned defense `defense=good` lets 20.0 (0{NOTHING}44.8) % through in the worst case "
        f"(`attack=a`), {MINUS}40.0 ± 24.8 points beside the best fixed one (`defense=best`)."
    )
    text = markdown(made)
    assert "4 trials (tpe) of 6 federations each over d, e" in text
    assert "under `attack=a`, `attack=b`" in text
    start = f"| **trial 1**: `defense=good` | 10.0 | 20.0 (0{NOTHING}44.8)"
    row = f"{start} | {NOTHING} | `attack=a` | +0.0 ± 2.5 | yes |"
    assert row in text
    assert made.command == (
        "python -m benchmark run data=x federation.measured_on=test defense=good attack=a seed=1000"
    )
    assert [t.number for t in best(made.tried, 2, ["minimize"])] == [0, 1]
    assert "No defense was found" in report(found[:1], fixed).verdict()
    assert "in any trial" in report([], fixed).verdict()
    assert "no defense as its yaml has it keeps" in report(found, fixed[2:]).verdict()


def test_a_front_says_what_of_it_stays(tmp_path: Path) -> None:
    made = report(
        [again("d0", [0, 0, 0], DEAR, 0), again("d2", [0.2, 0.2, 0.2], DEAR, 2)],
        [again("x", [0.3, 0.3, 0.3], FREE, None)],
    )
    made = replace(
        made,
        description=made.description | {"directions": ["minimize", "maximize"]},
        tried=[tried(0, 0.0, 0.5), tried(1, 0.3, 0.5), tried(2, 0.2, 0.8)],
    )
    assert [t.number for t in made.front] == [0, 2]
    assert [r.trial for r in made.candidates_undominated()] == [0]
    assert made.verdict().startswith(
        "The front has 2 points; of the 2 that were run again 1 stay undominated on fresh seeds."
    )
    assert "| trial 2: `defense=d2` | 10.0, main 80.0 | 20.0 ± 0.0 |" in markdown(made)
    files = ["tuning.json", "tuning.md", "pareto.png", "tuning.html"]
    assert [path.name for path in made.write(tmp_path)] == files
    plain = json.loads((tmp_path / "tuning.json").read_text())
    budget = {"trials": 3, "pruned": 0, "federations": 18, "rounds": 54}
    assert made.budget() == budget
    assert (plain["front"], plain["front_on_fresh_seeds"]) == ([0, 2], [0])


def test_a_race_is_told_move_by_move(tmp_path: Path) -> None:
    by_seed = [dict(zip(SEEDS, x, strict=True)) for x in ([0.2, 0.2, 0.2], [0.8, 0.9, 1.0])]
    costs = [dict(zip(SEEDS, x, strict=True)) for x in ([0.01, 0.01, 0.01], [0.02, 0.01, 0.03])]
    start = Pair(("attack=a",), ("defense=mean",), by_seed[0], costs[0])
    pair = Pair(("attack=b", "attack.x=1"), ("defense=mean",), by_seed[1], costs[1])
    gain = {seed: by_seed[1][seed] - by_seed[0][seed] for seed in SEEDS}
    moves = [
        Move(1, "attack", Response(pair.attack, 0.97), gain, pair),
        Move(2, "defense", Response(None, None), None, pair),
    ]
    left = Exploitability(
        Regret(Response(("attack=c",), 1.0), dict(zip(SEEDS, (-0.1, 0.1, -0.1), strict=True))),
        Regret(Response(("defense=d",), 0.1), dict(zip(SEEDS, (0.5, 0.6, 0.7), strict=True))),
    )
    # What is worse than what one has counts 0.
    assert round(left.total.mean, 9) == 0.6
    both = Exploitability(Regret(left.attack.response, gain), left.defense)
    assert round(both.total.mean, 9) == 1.3
    told = {"trials": 5, "sampler": "tpe", "seeds": [0, 1]}
    race = Race(start, moves, "settled")
    made = RaceReport("r", "sqlite:///t.db", ("data=x",), told, SEEDS, race, left)
    assert made.verdict() == (
        f"The race settled after 2 moves: `attack=b attack.x=1` gets 90.0 (65.2{NOTHING}100) % "
        "through `defense=mean`. Its cost in main accuracy: +2.0 ± 2.5, at the gate. "
        "Fresh searches against the pair still gain +60.0 ± 24.8 points."
    )
    text = markdown(made)
    after = f"`attack=b attack.x=1` on `defense=mean`: 90.0 (65.2{NOTHING}100)"
    cost = "+2.0 ± 2.5, at the gate"
    assert (
        f"| 1, attack | `attack=b attack.x=1` | 97.0 | {after} | {cost} | +70.0 ± 24.8 | yes |"
        in text
    )
    assert f"| 2, defense | `nothing` | {NOTHING} | {after} | {cost} | {NOTHING} | no |" in text
    assert "| start |  |  | `attack=a` on `defense=mean`: 20.0 ± 0.0 | +1.0 ± 0.0 |  |  |" in text
    assert f"A fresh attacker gains {MINUS}3.3 ± 28.7 points with `attack=c`." in text
    files = ["tuning.json", "tuning.md", "race.png", "tuning.html"]
    assert [path.name for path in made.write(tmp_path)] == files
    plain = json.loads((tmp_path / "tuning.json").read_text())
    assert [move["study"] for move in plain["moves"]] == ["r-1-attack", "r-2-defense"]
    assert plain["moves"][0]["gains"] is True
    assert Estimate(**plain["exploitability"]["total"]) == left.total
    assert plain["exploitability"]["beyond_noise"] is True
    stopped = replace(made, race=replace(race, end="time"))
    assert "stopped, as its time was up, after 2 moves" in stopped.verdict()


def test_what_noise_leaves_to_gain_is_told_as_noise() -> None:
    pair = Pair(("attack=a",), ("defense=mean",), dict.fromkeys(SEEDS, 0.5), {})
    noise = dict(zip(SEEDS, (0.3, -0.1, 0.0), strict=True))
    worse = Regret(Response(("defense=d",), 0.1), dict.fromkeys(SEEDS, -0.2))
    left = Exploitability(Regret(Response(("attack=b",), 0.9), noise), worse)
    told = {"trials": 5, "sampler": "tpe", "seeds": [0, 1]}
    made = RaceReport("r", "sqlite:///t.db", (), told, SEEDS, Race(pair, [], "time"), left)
    assert made.verdict().endswith("gain no more than the noise (+6.7 ± 51.7 points).")
    nothing = Exploitability(worse, worse)
    assert nothing.total == Estimate(0.0, None, len(SEEDS))
    assert not nothing.is_found


def test_a_study_without_a_trial_says_nothing_of_the_defenses() -> None:
    made = report([], [again("mean", [0.9, 0.9, 0.9], FREE, None)])
    assert made.verdict().startswith("No defense was found")
    assert replace(made, tried=[]).verdict() == UNTRIED
    assert AttackReport.verdict(replace(made, tried=[])) == UNTRIED
    assert AttackReport.verdict(made).startswith("No trial kept main accuracy")
