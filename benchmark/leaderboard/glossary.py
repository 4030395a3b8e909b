"""The sentences that stand under every leaderboard."""

from benchmark.leaderboard.board import Section, counted
from benchmark.report.numbers import interval
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
    "Attacks are ranked by mean lift over the defenses whose unattacked model does not fail the "
    f"gate. An attack succeeds from {100 * SUCCESS:.0f} % in-sample backdoor accuracy on."
)
DIVERGED = (
    "Diverged: the model did not stay finite. Its main accuracy is 0 at the gate, and its backdoor "
    "is not scored."
)

ENSEMBLE = (
    "{}: in-sample backdoor accuracy under whichever attack of this ensemble got most in with each "
    "seed. The list belongs to the name, so that others who say it mean the same."
)

UNTARGETED = (
    "Untargeted attacks want a worse model and no backdoor: what counts is the main accuracy that "
    "they leave, that of the most harmful in front. They have no part in ranks, worst cases and "
    "the accuracy gate."
)


def seeds(section: Section) -> str:
    """How many seeds there are, what that means for the intervals, and what these leave out."""
    n = len(section.seeds)
    if n == 1:
        return (
            "1 seed, so there are no intervals: nothing here says how much luck is in it, and no "
            "defense is ranked."
        )
    partition = (
        f"The runs are on {section.partitions} partitions of the data, whose deviation is in it."
        if section.partitions > 1
        else "The partition of the data is the same in every seed, so what another one would "
        "change is not in it."
    )
    return (
        f"{n} seeds; ± is the 95 % interval of the mean over seeds (Student's t), cut where shares "
        f"end and then given by its ends. {partition}"
    )


def reference(section: Section) -> str:
    """What the gate is held against."""
    if section.reference is None:
        return "The undefended, unattacked model is missing here, so no defense is ranked."
    return f"Undefended and unattacked: {interval(section.reference)} %."


def gate(section: Section) -> str:
    """The accuracy gate in a few sentences."""
    return (
        f"Accuracy gate: a defense counts as usable if it costs at most {100 * GATE:g} points of "
        "main accuracy, unattacked and under every attack. The loss is that beside the undefended, "
        "unattacked model of the same seed, and it is judged by its 95 % interval: all of it "
        "within passes, all of it beyond is below the gate; where it spans the edge, the defense "
        "is at the gate and has no rank, as other seeds may decide otherwise. A single seed "
        "leaves every defense there. "
        f"{reference(section)} A model below {100 * COLLAPSE:g} % of that is called collapsed."
    )


def users(section: Section) -> str:
    """What the data is and whose it is."""
    data = section.setting.data
    kind = str(data.get("user_kind", "users"))
    images = f"{data.get('train_images', '?')} training and {data.get('test_images', '?')} test"
    told = f"Data: {data.get('name', '?')}, {data.get('users', '?')} {kind}, {images} images."
    return f"{told} {USER_KINDS.get(kind, '')}".strip()


def missing(section: Section) -> str:
    """How many runs are missing from the full grid of attacks, defenses and seeds; "" if none."""
    n = sum(len(cell.missing) for cell in section.cells)
    return f"{counted(n, 'run')} {'are' if n > 1 else 'is'} missing from the full grid." * (n > 0)


def glossary(section: Section) -> list[str]:
    """The sentences that a reader of one section's tables needs, the most needed first."""
    window = f"{WINDOW} {seeds(section)}"
    cells = (*section.cells, *section.untargeted)
    diverged = [DIVERGED] if any(cell.diverged for cell in cells) else []
    if not section.is_backdoored:
        return [window, *diverged]
    return [
        gate(section),
        window,
        IN_SAMPLE,
        HELD_OUT,
        LIFT,
        COST,
        *diverged,
        *([TUNED] if section.tuned else []),
        *([ENSEMBLE.format(section.ensemble)] if section.ensemble else []),
        ORDER,
        *([TUNED_ORDER] if section.tuned else []),
        ATTACK_ORDER,
    ]
