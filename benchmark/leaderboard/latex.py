"""The leaderboard's defenses as LaTeX tables, for papers."""

from benchmark.leaderboard.board import DefenseRow, Leaderboard, Section, score
from benchmark.results.statistics import Estimate

HEAD = ["", "Defense", "Worst attack", "In-sample", "Held-out", "Main", "Main, unattacked", "Tuned"]


def to_latex(leaderboard: Leaderboard) -> str:
    """One booktabs table a setting, the defenses in their order; percents over seeds.

    Behind ± is half the width of the 95 % interval. Takes the package ``booktabs``. What a tuned
    attacker reached in-sample has a column where there is one, as it counts in the order.
    """
    return "\n".join(_table(leaderboard.name, section) for section in leaderboard.sections)


def _table(name: str, section: Section) -> str:
    # Imported late: pandas takes a second.
    import pandas as pd

    frame = pd.DataFrame([_row(row) for row in section.defense_rows], columns=HEAD)
    if not section.tuned:
        frame = frame.drop(columns="Tuned")
    seeds = len(section.seeds)
    label = f", {section.setting.label}" if section.setting.label else ""
    caption = (
        f"{name}{label}: defenses by their worst attack, accuracies in percent "
        f"over {seeds} {'seed' if seeds == 1 else 'seeds'}"
    )
    styled = frame.style.hide(axis="index").format(escape="latex", subset=HEAD[1:3])
    return styled.to_latex(
        hrules=True, caption=_escaped(caption), column_format="rll" + "r" * (frame.shape[1] - 3)
    )


def _row(row: DefenseRow) -> list[str]:
    worst, plain = row.worst, row.unattacked
    found = (score(worst, "in_sample"), score(worst, "held_out"), score(worst, "main"))
    tuned = row.tuned.winner.in_sample if row.tuned and row.tuned.winner else None
    numbers = [_interval(each) for each in (*found, score(plain, "main"), tuned)]
    place = str(row.rank) if row.rank else row.status
    return [place, row.defense, row.worst_attack or "--", *numbers]


def _interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "--"
    half = estimate.half_width
    spread = "" if half is None else rf" \pm {100 * half:.1f}"
    return f"${100 * estimate.mean:.1f}{spread}$"


def _escaped(text: str) -> str:
    for character in r"_%&#$":
        text = text.replace(character, "\\" + character)
    return text
