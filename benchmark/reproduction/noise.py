"""Which reading of "0.025" fits what the paper says of noise."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.config.compose import reads_as
from benchmark.reproduction.claim import Claim
from benchmark.reproduction.evidence import Evidence, Line
from benchmark.reproduction.lines import chosen_by
from benchmark.reproduction.scores import Score, by_seed, score
from benchmark.reproduction.verdict import Verdict, Word
from benchmark.results.statistics import Estimate, difference, estimate

SUITE = "fig4b_weak_dp"
STD, ON = "defense.noise_std", "defense.noise_on"
CLAIMED = {"main_accuracy", "backdoor_in_sample"}
MEANT = {"std025": "standard deviation 0.025", "std158": "variance 0.025"}


@dataclass(frozen=True)
class Reading:
    """One of the four.

    Attributes:
        name: what the paper's number is taken to be.
        std: σ here, on what ``noise_on`` says.
        score: of the attacked federations.
        main: main accuracy minus that of clipping alone, paired by seed.
        costs, mitigates: the claims that the main task is hardly hurt and that noise mitigates
            further, with what was found.
        diverged: whether a model did not stay finite.
    """

    name: str
    std: float
    score: Score
    main: Estimate | None
    costs: Verdict
    mitigates: Verdict
    diverged: bool

    @property
    def word(self) -> Word:
        """Whether it fits both; noise that destroys the model does not."""
        if self.diverged:
            return "does not hold"
        words = (self.costs.word, self.mitigates.word)
        order: tuple[Word, ...] = ("does not hold", "not decidable", "undecided")
        return next((word for word in order if word in words), "holds")


def clipping(evidence: Evidence) -> Line | None:
    """The line that clips and adds nothing."""
    return next((x for x in evidence.lines.get(SUITE, ()) if STD not in chosen_by(x)), None)


def readings(evidence: Evidence, verdicts: Sequence[Verdict]) -> list[Reading]:
    """All that have both claims on them."""
    alone, found = clipping(evidence), []
    for line in evidence.lines.get(SUITE, ()):
        chosen = {key: reads_as(value) for key, value in chosen_by(line).items()}
        own = {v.claim.metric: v for v in verdicts if _compares(v.claim, chosen)}
        if alone is None or STD not in chosen or not own.keys() >= CLAIMED:
            continue
        std = chosen[STD]
        key = next((k for k in MEANT if evidence.values.get(k) == std), "")
        sides = (evidence.of(line), evidence.of(alone))
        main = [by_seed(records, "main_accuracy", "last_fifth") for records in sides]
        found.append(
            Reading(
                name=f"{MEANT.get(key, f'standard deviation {std:.3g}')} on the {chosen[ON]}",
                std=std,
                score=score(evidence, line),
                main=estimate(difference(*main)),
                costs=own["main_accuracy"],
                mitigates=own["backdoor_in_sample"],
                diverged=evidence.diverged(line) > 0,
            )
        )
    return found


def _compares(claim: Claim, chosen: dict[str, object]) -> bool:
    """Whether a claim compares a line with clipping alone."""
    last = claim.order[-1]
    return (
        claim.suite == SUITE
        and isinstance(last, dict)
        and all(chosen.get(key) == value for key, value in last.items())
    )
