"""The attacker's problem: what is maximized, under which constraint, and what makes it another."""

import json
import shutil
import statistics
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmark.config.compose import available
from benchmark.results.gates import TOLERANCE
from benchmark.run.cell import Cell
from benchmark.run.events import Event, Finished, Round, Started, Stopped
from benchmark.run.record import Record
from benchmark.run.runner import StoppedError
from benchmark.tuning import federations
from benchmark.tuning.attacker import Attacker
from benchmark.tuning.federations import UNATTACKED, Federations, SeedScores
from benchmark.tuning.reevaluation import reevaluate
from benchmark.tuning.rounds import OnRound
from benchmark.utils.errors import UserError
from tests.support.running import TINY, files
from tests.support.tuning_toy import unreported

HARMLESS = ("defense=norm_clip", "defense.norm_bound=0.1")


def attacker(*overrides: str, watch: Any = lambda event: None) -> Attacker:
    return Attacker.against([*TINY, *overrides], [0, 1], Path("results"), watch)


def record(*overrides: str) -> Record:
    cell = Cell.of([*TINY, "federation.measured_on=validation", *overrides])
    return Record.read(cell.record_path(Path("results")))


def test_the_objective_and_the_constraint_are_those_of_the_records(workplace: Path) -> None:
    defense = ("defense=norm_clip", "defense.norm_bound=0.5")
    problem, attack = attacker(*defense), ["attack=boosted", "attack.epochs=2"]
    outcome = problem.evaluate(attack, unreported)
    attacked, honest = (
        [record(*defense, *chosen, f"seed={seed}").summary for seed in (0, 1)]
        for chosen in (attack, UNATTACKED)
    )

    def over_seeds(summaries: Any, metric: str) -> float:
        return statistics.fmean(summary[metric].last_fifth for summary in summaries)

    main = over_seeds(attacked, "main_accuracy")
    cost = over_seeds(honest, "main_accuracy") - main
    assert outcome.values == (pytest.approx(over_seeds(attacked, "backdoor_in_sample")),)
    assert outcome.constraints == {"main_accuracy": pytest.approx(cost - 0.02)}
    assert outcome.facts == {"main_accuracy": pytest.approx(main), "diverged": []}
    assert cost > TOLERANCE
    assert len(list(Path("results/records").iterdir())) == 4


def test_an_attack_that_breaks_the_model_is_worth_nothing(workplace: Path) -> None:
    told: list[Event] = []
    problem = attacker("federation.client_lr=1e30", watch=told.append)
    score = problem.federations.score(["attack=boosted"], [0])
    assert score == SeedScores({0: 0.0}, {0: 0.0}, {0: 0.0}, [0])
    assert isinstance(told[-1], Finished)
    assert told[-1].record.diverged
    # Beside a model that breaks by itself nothing would cost anything.
    with pytest.raises(UserError, match="attack=none, seed 0: the model diverges"):
        problem.prepare(1)
    # It diverges again, so it is not run again.
    seen = len(told)
    assert problem.federations.score(["attack=boosted"], [0]) == score
    assert not any(isinstance(event, Started | Round) for event in told[seen:])


def test_the_space_is_of_attacks_that_compromise_somebody() -> None:
    problem = attacker()
    assert set(problem.space.families) == set(available("attack")) - {"none"}
    assert problem.known().keys() == problem.space.families.keys()
    # What stands outside of the ranges is no setting of the space.
    assert "norm_bounded" not in attacker("defense=norm_clip", "defense.norm_bound=99").known()


def test_what_makes_it_another_study(workplace: Path) -> None:
    same = attacker(*HARMLESS).describe()
    assert json.loads(json.dumps(same))["configuration"]["defense"]["norm_bound"] == 0.1
    for change in ("engine.workers=2", "federation.checkpoint_every=2", "tracking=mlflow"):
        assert attacker(*HARMLESS, change).describe() == same
    for change in ("defense.norm_bound=1", "federation.rounds=4", "task.num_tasks=3"):
        assert attacker(*HARMLESS, change).describe() != same
    assert Attacker.against([*TINY, *HARMLESS], [0, 1, 2], Path(), print).describe() != same


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("attack=boosted", ["'attack=boosted': the attack is what is tuned"]),
        ("attack.epochs=2", ["'attack.epochs=2': the attack is what is tuned"]),
        ("seed=1", ["'seed=1'", "--seeds"]),
        ("federation.measured_on=test", ["a search is on the validation half of the users"]),
    ],
)
def test_what_the_study_chooses_is_not_given(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        attacker(override)
    for word in words:
        assert word in str(caught.value)


def test_the_reevaluation_is_on_the_other_half_of_the_users(workplace: Path) -> None:
    problem = attacker(*HARMLESS)
    again = reevaluate(problem, [], [], [1000, 1001])
    records = [Record.read(path) for path in Path("results/records").iterdir()]
    assert {r.config["federation"]["measured_on"] for r in records} == {"test"}
    assert {r.seed for r in records} == {1000, 1001}
    boosted = again.fixed[0]
    expected = {
        r.seed: r.summary["backdoor_held_out"].last_fifth
        for r in records
        if r.config["attack"]["name"] == "boosted"
    }
    assert boosted.held_out == expected


def curve(federations: Federations, attack: list[str]) -> list[tuple[int, float]]:
    told: list[tuple[int, float]] = []

    def tell(round: int, metrics: dict[str, float]) -> None:
        told.append((round, metrics["backdoor_in_sample"]))

    federations.score(attack, [0, 1], tell)
    return told


def test_rounds_are_told_whether_they_run_or_were_run(workplace: Path) -> None:
    federations, attack = attacker("federation.rounds=5").federations, ["attack=boosted"]
    told: list[int] = []

    def stop_at_seven(round: int, metrics: dict[str, float]) -> None:
        told.append(round)
        if round == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        federations.score(attack, [0, 1], stop_at_seven)
    assert told == list(range(8))
    resumed = curve(federations, attack)
    assert [round for round, _ in resumed] == list(range(10))
    assert curve(federations, attack) == resumed
    other = attacker("federation.rounds=5").federations
    shutil.rmtree("results")
    assert curve(other, attack) == resumed


def test_rounds_that_another_process_ran_meanwhile_are_told_too(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("federation.rounds=8", "federation.checkpoint_every=1")
    whole = curve(attacker(*overrides).federations, ["attack=boosted"])
    shutil.rmtree("results")
    run = federations.run

    def late(cell: Cell, folder: Path, watch: OnRound) -> Record:
        """Another process has the cell, and ends, while this one waits for it."""

        def end(round: int, metrics: dict[str, float]) -> None:
            if round == 5:
                raise KeyboardInterrupt

        with suppress(KeyboardInterrupt):
            run(cell, folder, end)
        return run(cell, folder, watch)

    monkeypatch.setattr(federations, "run", late)
    assert curve(attacker(*overrides).federations, ["attack=boosted"]) == whole


def test_a_federation_that_is_given_up_leaves_nothing(workplace: Path) -> None:
    events: list[Event] = []
    federations = attacker("federation.rounds=5", watch=events.append).federations

    def give_up(round: int, metrics: dict[str, float]) -> None:
        if round == 2:
            raise StoppedError("enough")

    with pytest.raises(StoppedError):
        federations.score(["attack=boosted"], [0, 1], give_up)
    assert files(Path("results")) == set()
    (stopped,) = (event for event in events if isinstance(event, Stopped))
    assert stopped.reason == "enough"


def test_fresh_seeds_are_fresh(workplace: Path) -> None:
    problem = attacker(*HARMLESS)
    with pytest.raises(AssertionError):
        reevaluate(problem, [], [], [1, 2, 3])
