"""Which reading of "0.025" fits what the paper says of noise."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.reproduction.claim import Claim
from benchmark.reproduction.evidence import Evidence, Line
from benchmark.reproduction.scores import Score, measured, score
from benchmark.reproduction.verdict import Verdict, Word, judge
from benchmark.results.statistics import Estimate, difference, estimate

SUITE = "fig4b_weak_dp"
COSTS_LITTLE, MITIGATES = 0.02, 0.05
"""The main task is hardly hurt within the one; noise mitigates further by more than the other."""

NAMES = {"std025": "standard deviation 0.025", "std158": "variance 0.025"}


@dataclass(frozen=True)
class Reading:
    """One of the four.

    Attributes:
        name: what the paper's number is taken to be.
        std: σ here, on what ``noise_on`` says.
        score: of the attacked federations.
        main: main accuracy minus that of clipping alone, paired by seed.
        main_word: whether the main task is hardly hurt.
        in_sample_word: whether noise mitigates further.
        diverged: whether a model did not stay finite.
    """

    name: str
    std: float
    score: Score
    main: Estimate | None
    main_word: Word
    in_sample_word: Word
    diverged: bool

    @property
    def word(self) -> Word:
        """Whether it fits both; noise that destroys the model does not."""
        if self.diverged:
            return "does not hold"
        words = (self.main_word, self.in_sample_word)
        order: tuple[Word, ...] = ("does not hold", "not decidable", "undecided")
        return next((word for word in order if word in words), "holds")


def clipping(evidence: Evidence) -> Line | None:
    """The line that clips and adds nothing."""
    lines = evidence.lines.get(SUITE, ())
    return next((line for line in lines if "defense=norm_clip" in line.choices), None)


def readings(evidence: Evidence, verdicts: Sequence[Verdict]) -> list[Reading]:
    """Each with the verdicts of the claims on it, or judged here where there are none."""
    alone, found = clipping(evidence), []
    for line in evidence.lines.get(SUITE, ()):
        if alone is None or "defense=weak_dp" not in line.choices:
            continue
        records = evidence.of(line)
        chosen = dict(choice.removeprefix("defense.").split("=", 1) for choice in line.choices)
        std, noise_on = float(chosen["noise_std"]), chosen["noise_on"]
        key = next((k for k in NAMES if evidence.values.get(k) == std), "")
        name = NAMES.get(key, f"standard deviation {std:.3g}")
        wanted = {
            "defense": "weak_dp",
            "defense.noise_std": std,
            "defense.noise_on": noise_on,
        }

        def word(metric: str, wanted: dict = wanted) -> Word:
            for verdict in verdicts:
                claim = verdict.claim
                told = [claim.runs(e) for e in claim.order if isinstance(e, dict)]
                fits = any(wanted.items() <= e.items() for e in told)
                if claim.name.startswith("fig4b") and claim.metric == metric and fits:
                    return verdict.word
            return _judged(evidence, metric, wanted)

        main = [measured(r, "main_accuracy", "last_fifth") for r in (records, evidence.of(alone))]
        found.append(
            Reading(
                name=f"{name} on the {noise_on}",
                std=std,
                score=score(evidence, line),
                main=estimate(difference(*main)),
                main_word=word("main_accuracy"),
                in_sample_word=word("backdoor_in_sample"),
                diverged=evidence.diverged(line) > 0,
            )
        )
    return found


def _judged(evidence: Evidence, metric: str, wanted: dict) -> Word:
    little = metric == "main_accuracy"
    claim = Claim(
        name="noise",
        text="",
        source="",
        suite=SUITE,
        metric=metric,
        measure="last_fifth",
        order=[{"defense": "norm_clip"}, wanted],
        direction="same" if little else "higher",
        margin=COSTS_LITTLE if little else MITIGATES,
    )
    return judge(claim, evidence.table, evidence.seeds, evidence.main).word
