"""The sentences that stand under every leaderboard."""

from benchmark.leaderboard.board import Section
from benchmark.report.numbers import interval, number
from benchmark.report.vocabulary import HELD_OUT, IN_SAMPLE, USER_KINDS, WINDOW
from benchmark.results.gates import COLLAPSE, GATE, SUCCESS

LIFT = (
    "Lift: in-sample backdoor accuracy minus that of the unattacked run under the same defense, "
    "setting and seed; in percentage points."
)
COST = (
    "Honest cost: what honest target users lose, in percentage points: accuracy on their held-out "
    "images of the source class under the true label, of the unattacked undefended run minus that "
    "of this one, paired by seed."
)
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
ATTACK_ORDER = (
    "Attacks are ranked by mean lift over the defenses whose unattacked model passes the gate. "
    f"An attack succeeds above {100 * SUCCESS:.0f} % in-sample backdoor accuracy."
)


def seeds(section: Section) -> str:
    """How many seeds there are and what that means for the intervals."""
    n = len(section.seeds)
    if n == 1:
        return "1 seed, so there are no intervals: nothing here says how much luck is in it."
    return f"{n} seeds; ± is the 95 % interval of the mean over seeds (Student's t)."


def gate(section: Section) -> str:
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


def users(section: Section) -> str:
    """What the data is and whose it is."""
    data = section.setting.data
    kind = str(data.get("user_kind", "users"))
    images = f"{data.get('train_images', '?')} training and {data.get('test_images', '?')} test"
    told = f"Data: {data.get('name', '?')}, {data.get('users', '?')} {kind}, {images} images."
    return f"{told} {USER_KINDS.get(kind, '')}".strip()


def missing(section: Section) -> str:
    """How many runs are missing; empty if none is."""
    n = section.num_missing
    plural = "runs are" if n != 1 else "run is"
    return f"{n} {plural} missing from the full grid." if n else ""


def glossary(section: Section) -> list[str]:
    """The sentences that a reader of one section's tables needs, the most needed first."""
    return [
        gate(section),
        f"{WINDOW} {seeds(section)}",
        IN_SAMPLE,
        HELD_OUT,
        LIFT,
        COST,
        *([TUNED] if section.tuned else []),
        ORDER,
        *([TUNED_ORDER] if section.tuned else []),
        ATTACK_ORDER,
    ]
