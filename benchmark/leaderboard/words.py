"""Numbers as readers see them, and the sentences that stand under every leaderboard."""

from benchmark.leaderboard.board import DefenseRow, Leaderboard, Section
from benchmark.results.gates import COLLAPSE, GATE, SUCCESS
from benchmark.results.statistics import Estimate

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

IN_SAMPLE = (
    "In-sample backdoor accuracy: the share of the adversary's own backdoor images that the global "
    "model gives the adversary's label (the paper's number)."
)
HELD_OUT = (
    "Held-out backdoor accuracy: the same share over unseen images of the target users, which "
    "nobody trained on."
)
LIFT = (
    "Lift: in-sample backdoor accuracy minus that of the unattacked run under the same defense, "
    "setting and seed; in percentage points."
)
COST = (
    "Honest cost: what honest target users lose, in percentage points: accuracy on their held-out "
    "images of the source class under the true label, of the unattacked undefended run minus that "
    "of this one, paired by seed."
)
WINDOW = "Scores are means over the last fifth of the rounds."
ORDER = (
    "Defenses are ranked by the worst case over attacks of in-sample backdoor accuracy, the lowest "
    "first; the scores of a row are those under its worst attack. Ties: held-out backdoor "
    "accuracy, then main accuracy without attack, then the name. Neighbors whose intervals overlap "
    "are not told apart by these runs."
)
TUNED = (
    "Worst case, tuned: in-sample backdoor accuracy under the strongest attacker that a search "
    "found against this very defense within the budget beside it. The winner of the search was run "
    "again on seeds, target users and test images that the search never saw; its gain is over the "
    "strongest fixed attack on the same. Whatever else stands in a row is of the fixed attacks."
)
TUNED_ORDER = (
    "Where an attacker was tuned against a defense, the stronger of the two worst cases, fixed and "
    "tuned, gives its rank. A defense that is marked as not tuned has met the fixed attacks alone: "
    "that it stands above others is no sign that a search would not get into it."
)
NOT_TUNED = "not tuned"
NONE_FOUND = "none found that keeps main accuracy"
STALE = "found with other source files than its runs were made with, tune again"
ATTACK_ORDER = (
    "Attacks are ranked by mean lift over the defenses whose unattacked model passes the gate. "
    f"An attack succeeds above {100 * SUCCESS:.0f} % in-sample backdoor accuracy."
)

USER_KINDS = {
    "style users": "Style users are not writers: the data names no writer, so images of similar "
    "handwriting (slant and amount of ink) were dealt to the same user.",
    "writers": "Each user is one person, who wrote all of its images.",
    "IID users": "IID users are not writers: images were dealt to them at random.",
    "Dirichlet users": "Dirichlet users are not writers: images were dealt to them at random, with "
    "shares of the classes that differ from user to user.",
}


def number(value: float | None, signed: bool = False) -> str:
    """A share as percent with one decimal, with a real minus sign and without −0.0."""
    if value is None:
        return NOTHING
    rounded = round(100 * value, 1) + 0.0
    return f"{rounded:{'+' if signed else ''}.1f}".replace("-", MINUS)


def interval(value: Estimate | None, signed: bool = False) -> str:
    """``93.0 ± 4.1``; without interval for one seed."""
    if value is None:
        return NOTHING
    if value.half_width is None:
        return number(value.mean, signed)
    return f"{number(value.mean, signed)} ± {number(value.half_width)}"


def tuned(row: DefenseRow) -> str:
    """The tuned worst case of a defense."""
    if row.tuned is None:
        return NOT_TUNED
    return NONE_FOUND if row.tuned.winner is None else interval(row.tuned.winner.in_sample)


def gain(row: DefenseRow) -> str:
    """What tuning gained over the fixed attacks."""
    found = row.tuned and row.tuned.winner
    return interval(found.gain if found else None, signed=True)


def budget(row: DefenseRow) -> str:
    """What a search was given."""
    if row.tuned is None:
        return NOTHING
    found = row.tuned
    pruned = f" ({found.pruned} pruned)" if found.pruned else ""
    told = f"{found.trials} trials{pruned} of {found.seeds} federations, {found.sampler}"
    if found.searches > 1:
        told += f"; the most of {found.searches} searches with {found.searched} trials"
    return f"{told}; {STALE}" if found.is_stale else told


def parted(label: str) -> tuple[str, str]:
    """A label's name and its parameters: ``norm_clip`` and ``norm_bound=0.5``."""
    name, _, parameters = label.partition(" (")
    return name, parameters.removesuffix(")")


def seconds(value: float | None) -> str:
    """Seconds a round, three significant digits."""
    return NOTHING if value is None else f"{value:.3g}"


def seeds_told(section: Section) -> str:
    """How many seeds there are and what that means for the intervals."""
    n = len(section.seeds)
    if n == 1:
        return "1 seed, so there are no intervals: nothing here says how much luck is in it."
    return f"{n} seeds; ± is the 95 % interval of the mean over seeds (Student's t)."


def gate_told(section: Section) -> str:
    """The accuracy gate in one or two sentences."""
    told = (
        f"Accuracy gate: a defense counts as usable if its mean main accuracy, unattacked and "
        f"under every attack, is at most {100 * GATE:g} points below that of the undefended, "
        f"unattacked model. "
    )
    if section.floor is None or section.reference is None:
        return told + "That run is missing here, so no defense is ranked."
    return told + (
        f"Here: at least {number(section.floor)} % "
        f"(undefended and unattacked: {interval(section.reference)} %). Whatever is below it is "
        f"listed last and unranked; below {100 * COLLAPSE:g} % of the reference it is called "
        f"collapsed."
    )


def users_told(section: Section) -> str:
    """What the data is and whose it is."""
    data = section.setting.data
    kind = str(data.get("user_kind", "users"))
    images = f"{data.get('train_images', '?')} training and {data.get('test_images', '?')} test"
    told = f"Data: {data.get('name', '?')}, {data.get('users', '?')} {kind}, {images} images."
    return f"{told} {USER_KINDS.get(kind, '')}".strip()


def environment_told(section: Section) -> str:
    """Engine, device and precision of the runs."""
    return "; ".join(f"{fact}: {', '.join(v)}" for fact, v in section.environment.items()) + "."


def missing_told(section: Section) -> str:
    """How many runs are missing; empty if none is."""
    n = section.num_missing
    plural = "runs are" if n != 1 else "run is"
    return f"{n} {plural} missing from the full grid." if n else ""


def title(leaderboard: Leaderboard, section: Section) -> str:
    """Of a section; that of the leaderboard if it has only one."""
    return section.setting.label or leaderboard.name


def glossary(section: Section) -> list[str]:
    """The sentences that a reader of one section's tables needs, the most needed first."""
    return [
        gate_told(section),
        f"{WINDOW} {seeds_told(section)}",
        IN_SAMPLE,
        HELD_OUT,
        LIFT,
        COST,
        *([TUNED] if section.tuned else []),
        ORDER,
        *([TUNED_ORDER] if section.tuned else []),
        ATTACK_ORDER,
    ]
