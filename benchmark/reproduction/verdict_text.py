"""Verdicts in words: what was compared, and what was found."""

from dataclasses import replace

from benchmark.report import naming
from benchmark.report.document import Mark
from benchmark.report.numbers import interval, measured
from benchmark.reproduction.chapters import chapter
from benchmark.reproduction.claim import OWN, Claim, Runs
from benchmark.reproduction.verdict import Comparison, Verdict, Word
from benchmark.results.statistics import Estimate

SHARES = ("main_accuracy", "backdoor", "source_accuracy", "true_positive_rate")
"""Beginnings of the names of metrics that are shares, shown in percent."""

METRICS = {
    "main_accuracy": "main",
    "backdoor_in_sample": "in-sample",
    "backdoor_held_out": "held-out",
    "backdoor_without_trigger": "held-out without the trigger",
    "source_accuracy_targets": "honest target users' 7s",
    "source_accuracy_all": "all users' 7s",
    "honest_norm_median": "median honest norm",
    "honest_norm_max": "largest honest norm",
    "true_positive_rate": "compromised clients rejected",
}
MEASURED = {
    "final": "last round",
    "last_fifth": "mean of the last fifth",
    "cumulative_mean": "mean of all rounds",
    "sawtooth": "after attacks minus before them",
    "unsteadiness": "standard deviation from round to round",
    "attacked_fifth": "mean of the last attacked rounds",
    "half_life": "half-life",
    "lifespan": "lifespan above 50 %",
}


def verdict(word: Word) -> tuple[Mark]:
    """A verdict's word."""
    return (Mark(word, "verdict"),)


def found(verdict: Verdict) -> str:
    """The means on each side, and the effect that decides; why, where nothing is decided."""
    if not verdict.comparisons:
        return verdict.why
    claim = verdict.claim
    unit, names = _unit(claim), [entry(claim, each) for each in claim.order]
    means = [verdict.comparisons[0].one, *(c.other for c in verdict.comparisons)]
    why = f": {verdict.why}" if verdict.why else ""
    if len(names) == 2:
        one, other = (value(mean, unit) for mean in means)
        told = f"{names[0]}: {one}; {names[1]}: {other}"
        if not isinstance(claim.order[1], dict):
            told = f"{names[0]}: {one}, against {names[1]}"
        return f"{told}; difference {effect(verdict.comparisons[0].effect, unit)}{why}"
    chain = f"{names[0]}: {value(_mean(means[0]), unit)}"
    for comparison, name in zip(verdict.comparisons, names[1:], strict=True):
        chain += f" {_relation(comparison)} {name}: {value(_mean(comparison.other), unit)}"
    at, weakest = _weakest(verdict)
    step = f"{names[at]} against {names[at + 1]}"
    return f"{chain}. Weakest step, {step}: {effect(weakest.effect, unit)}{why}"


def measure(claim: Claim) -> str:
    """Of which curve, and what of it."""
    wanted = [claim.runs(each) for each in claim.order if isinstance(each, dict)]
    metrics = dict.fromkeys(METRICS.get(w["metric"], str(w["metric"])) for w in wanted)
    measures = dict.fromkeys(MEASURED.get(w["measure"], str(w["measure"])) for w in wanted)
    return f"{' and '.join(metrics)}, {' and '.join(measures)}"


def margin(claim: Claim) -> str:
    """What would count."""
    least = effect(Estimate(claim.margin, None, 1), _unit(claim)).removeprefix("+")
    if claim.direction == "same":
        return f"less than {least} apart"
    return f"{claim.direction}, by more than {least}" if claim.margin else claim.direction


def entry(claim: Claim, each: Runs | float) -> str:
    """What one side of a comparison is called."""
    if not isinstance(each, dict):
        unit = _unit(claim)
        return f"{100 * each:g} %" if unit == "%" else f"{each:g} {unit}".rstrip()
    wanted = [claim.runs(other) for other in claim.order if isinstance(other, dict)]
    varied = naming.varying(wanted) if len(wanted) > 1 else set(each) - set(OWN)
    chosen = claim.runs(each)
    own = [_called(key, chosen[key]) for key in OWN if key in varied]
    told = [*own, *naming.parts(chosen, varied - set(OWN)).values()]
    return ", ".join(told) or METRICS.get(claim.metric, claim.metric)


def _called(key: str, name: str) -> str:
    """A suite, metric or measure that a claim's entry brings."""
    if key == "suite":
        return chapter(name).called or chapter(name).title
    return METRICS.get(name, name.replace("_", " "))


def value(estimate: Estimate | None, unit: str) -> str:
    """``93.0 ± 4.1 %``, ``1.2 ± 0.1`` for a norm, ``12 ± 3 rounds``."""
    if unit == "%" and estimate:
        return f"{interval(estimate)} %"
    return measured(estimate, unit)


def effect(estimate: Estimate, unit: str) -> str:
    """The same for a difference, with its sign; those of percents are points."""
    if unit == "%":
        return f"{interval(estimate, signed=True)} points"
    return measured(estimate, unit, signed=True)


def _unit(claim: Claim) -> str:
    wanted = [claim.runs(each) for each in claim.order if isinstance(each, dict)]
    if any(each["measure"] in ("half_life", "lifespan") for each in wanted):
        return "rounds"
    return "%" if wanted[0]["metric"].startswith(SHARES) else ""


def _mean(estimate: Estimate) -> Estimate:
    return replace(estimate, half_width=None)


def _relation(comparison: Comparison) -> str:
    one, other = comparison.one.mean, comparison.other.mean
    return ">" if one > other else "<" if one < other else "="


def _weakest(verdict: Verdict) -> tuple[int, Comparison]:
    """The comparison that decides: of those with the verdict's word, the least in direction."""

    def strength(each: tuple[int, Comparison]) -> float:
        mean = each[1].effect.mean
        return {"higher": mean, "lower": -mean, "same": -abs(mean)}[verdict.claim.direction]

    deciding = [e for e in enumerate(verdict.comparisons) if e[1].word == verdict.word]
    return min(deciding, key=strength)
