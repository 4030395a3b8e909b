"""A study's pictures and page, whatever its trials came to."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest

from benchmark.report.document import Block, Paragraph
from benchmark.results import trials
from benchmark.results.trials import Trials
from benchmark.tuning.figures import draw
from benchmark.tuning.sections import TuningReport, coded
from benchmark.tuning.trial import of
from benchmark.utils.errors import UserError

Objective = Callable[[optuna.Trial], float]


class Bare(TuningReport):
    """A report that has a title and a sentence."""

    chosen = None

    heading, run_it = "Bare", "Run it"

    def verdict(self) -> str:
        return ""

    def blocks(self) -> list[Block]:
        return [Paragraph(coded(self.storage))]


def bare(study: str = "Title", words: str = "Text.") -> Bare:
    return Bare(study, words, (), {})


def free(trial: optuna.Trial) -> float:
    """Two families, one with a parameter that depends on another."""
    trial.set_user_attr("overrides", ["attack=x"])
    if trial.suggest_categorical("attack", ("a", "b")) == "a":
        if trial.suggest_categorical("attack.a.form", ("one", "two")) == "two":
            trial.suggest_categorical("attack.a.kind", (None, 1))
        return 0.1 * trial.number
    return trial.suggest_float("attack.b.x", 0.1, 10, log=True) / 10


def alone(trial: optuna.Trial) -> float:
    trial.set_user_attr("overrides", [])
    return trial.suggest_float("attack.b.y", 0, 1)


def nothing(trial: optuna.Trial) -> float:
    trial.set_user_attr("overrides", [])
    return 0.0


def flat(trial: optuna.Trial) -> float:
    alone(trial)
    trial.suggest_int("attack.b.n", 1, 9)
    return 0.0


def infeasible(trial: optuna.Trial) -> float:
    trial.set_constraint("main_accuracy", 0.1)
    return free(trial)


def pruned(trial: optuna.Trial) -> float:
    free(trial)
    trial.report(0.1, 0)
    raise optuna.TrialPruned


def study(objective: Objective, count: int) -> optuna.Study:
    sampler = optuna.samplers.RandomSampler(seed=1)
    made = optuna.create_study(direction="maximize", sampler=sampler)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made.optimize(objective, count)
    return made


ALL = {"history", "slices", "parallel", "importances"}


@pytest.mark.filterwarnings("ignore:set_constraint is experimental")
@pytest.mark.parametrize(
    ("objective", "count", "drawn"),
    [
        (free, 12, ALL),
        (infeasible, 6, ALL),
        (free, 1, set()),
        (free, 2, {"history", "slices"}),
        (pruned, 3, set()),
        (alone, 4, {"history", "slices"}),
        (nothing, 3, {"history"}),
        (flat, 4, {"history", "slices", "parallel"}),
    ],
)
def test_what_trials_allow_is_drawn(
    tmp_path: Path, objective: Objective, count: int, drawn: set[str]
) -> None:
    for name in ALL:
        (tmp_path / f"{name}.png").write_bytes(b"of an earlier study")
    made = study(objective, count)
    paths = draw(made, tmp_path)
    assert {path.stem for path in paths} == drawn
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    bare().write(tmp_path, [Trials("s", {}, of(made))], paths)
    text = (tmp_path / "tuning.html").read_text()
    assert text.count("<img ") == len(drawn)
    assert text.count('<th scope="row"') == count


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("href", "src") and value]


HOSTILE = '<script>alert("1")</script>'


def test_the_page_is_safe_whole_and_alone(tmp_path: Path) -> None:
    class Found(Bare):
        chosen = (f"x={HOSTILE}",)

    told = Found(HOSTILE, f"{HOSTILE} and `{HOSTILE}`.", (), {})
    odd = trials.Trial(3, "complete", [0.123456], {"c": 0.1}, {HOSTILE: HOSTILE}, [], {})
    told.write(tmp_path, [Trials("one", {}, [odd]), Trials("two", {}, [])])
    found = (tmp_path / "tuning.html").read_text()
    parsed = _Page()
    parsed.feed(found)
    assert parsed.tags.count("script") == 1
    assert parsed.tags.count("table") == 2
    assert all(link.startswith(("#", "data:")) for link in parsed.links)
    assert '<div class="command"><pre>python -m benchmark run' in found
    assert "<title>Bare: &lt;script&gt;" in found
    assert "0.1235" in found
    assert "complete, constraint missed" in found
    assert '<h3 id="two">two</h3>' in found


def test_all_trials_are_kept_in_whatever_state(tmp_path: Path) -> None:
    made = study(pruned, 1)
    made.optimize(alone, 1)
    made.enqueue_trial({"attack.b.y": 0.5})
    assert trials.read(tmp_path) == []
    kept = Trials("s", {"sampler": "tpe"}, of(made))
    assert [trial.state for trial in kept.trials] == ["pruned", "complete"]
    assert [trial.values == [] for trial in kept.trials] == [True, False]
    assert kept.trials[0].curve == {0: 0.1}
    trials.write([kept], tmp_path)
    assert trials.read(tmp_path) == [kept]


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 9}', '{"schema_version": 1}'])
def test_damaged_trials_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "trials.json").write_text(content)
    with pytest.raises(UserError, match="no trials of a study"):
        trials.read(tmp_path)


def test_json_of_trials_is_plain(tmp_path: Path) -> None:
    path = trials.write([Trials("s", {}, of(study(free, 3)))], tmp_path)
    raw = json.loads(path.read_text())
    assert raw["studies"][0]["trials"][2]["number"] == 2
