"""Studies that start from what earlier ones found."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.config.search_space import Range, Space
from benchmark.tuning.problem import Evaluation, FinishedTrial
from benchmark.utils.errors import UserError
from tests.support.tuning_toy import KNOWN, SPACE, Place, Toy, place_in


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return place_in(tmp_path, "journal")


def best(place: Place) -> list[FinishedTrial]:
    tried = place.run(20, name="earlier")
    return sorted((t for t in tried if t.feasible), key=lambda t: -t.value)[:5]


def test_the_best_feasible_settings_are_tried_first(place: Place) -> None:
    found = best(place)
    problem = Toy(bound=3.9, settings={"narrow": KNOWN["narrow"]})
    tried = place.run(9, problem, name="later", seed=1, warm_start=["earlier"])
    assert problem.asked[1:6] == [trial.overrides for trial in found]
    names = [f"earlier {trial.number}" for trial in found]
    assert [trial.known for trial in tried] == ["narrow", *names, None, None, None]
    # It need not be said again: the study is the same one.
    assert place.run(9, problem, name="later", seed=1) == tried
    assert len(problem.asked) == 9


def test_what_lies_outside_of_the_space_is_left_out(place: Place) -> None:
    found = best(place)
    assert all(trial.overrides[0] == "attack=wide" for trial in found)
    middle = Range(0.0, found[2].value, False, {})
    part = Space("attack", {"wide": SPACE.families["wide"] | {"x": middle}})
    opened = place.study(Toy(space=part, settings={}), name="later", warm_start=["earlier"])
    assert list(opened.earlier) == [f"earlier {trial.number}" for trial in found[2:]]
    other = Space("attack", {"narrow": SPACE.families["narrow"]})
    opened = place.study(Toy(space=other, settings={}), name="other", warm_start=["earlier"])
    assert opened.earlier == {}


class Both(Toy):
    def evaluate(self, chosen: Sequence[str]) -> Evaluation:
        x = super().evaluate(chosen).values[0]
        return Evaluation((x, -(x**2)), {}, {})


def test_of_a_front_its_spread(place: Place) -> None:
    place.run(15, Both(directions=("maximize", "maximize")), name="front")
    opened = place.study(name="later", warm_start=["front"])
    xs = sorted(point.get("attack.wide.x", 0) for point in opened.earlier.values())
    assert len(xs) == 5
    everything = place.study(Both(directions=("maximize", "maximize")), name="front").tried()
    values = sorted(t.outcome.values[0] for t in everything)
    # The one end of the front is the largest x, the other the least.
    assert xs[-1] == values[-1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("earlie", ["no study 'earlie'", "did you mean 'earlier'?", "valid: earlier"]),
        ("other", ["--warm-start other: its problem is another", "this study's is toy"]),
    ],
)
def test_a_study_that_is_none_or_another_is_refused(
    place: Place, name: str, words: list[str]
) -> None:
    class Another(Toy):
        def describe(self) -> dict[str, object]:
            return super().describe() | {"problem": "another"}

    place.run(2, name="earlier")
    if name == "other":
        place.run(2, Another(), name="other")
    before = place.file.read_bytes()
    with pytest.raises(UserError) as caught:
        place.study(name="later", warm_start=[name])
    for word in words:
        assert word in str(caught.value)
    assert place.file.read_bytes() == before
