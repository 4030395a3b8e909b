"""The leaderboard's defenses as LaTeX tables, for papers."""

from benchmark.leaderboard.board import DefenseRow, Leaderboard, Section, counted, score
from benchmark.report.numbers import NOTHING, interval

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
    label = f", {section.setting.label}" if section.setting.label else ""
    caption = (
        f"{name}{label}: defenses by their worst attack, accuracies in percent "
        f"over {counted(len(section.seeds), 'seed')}"
    )
    styled = frame.style.hide(axis="index").format(escape="latex", subset=HEAD[1:3])
    for character in r"_%&#$":
        caption = caption.replace(character, "\\" + character)
    shape = "rll" + "r" * (frame.shape[1] - 3)
    return styled.to_latex(hrules=True, caption=caption, column_format=shape)


def _row(row: DefenseRow) -> list[str]:
    found = [score(row.worst, metric) for metric in ("in_sample", "held_out", "main")]
    found += [
        score(row.unattacked, "main"),
        row.tuned.winner.in_sample if row.tuned and row.tuned.winner else None,
    ]
    numbers = [interval(each).replace("±", r"$\pm$").replace(NOTHING, "--") for each in found]
    worst = row.worst.attack if row.worst else "--"
    return [str(row.rank or row.status), row.defense, worst, *numbers]
