"""Numbers as readers see them: a real minus sign, no −0.0, the same digits everywhere."""

from benchmark.results.statistics import Estimate

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def number(share: float | None, signed: bool = False) -> str:
    """A share in percent, or a difference of shares in points, with one decimal: ``93.0``."""
    if share is None:
        return NOTHING
    rounded = round(100 * share, 1) + 0.0
    return f"{rounded:{'+' if signed else ''}.1f}".replace("-", MINUS)


def percent(share: float | None) -> str:
    """``93.0 %``."""
    return number(share) + (" %" if share is not None else "")


def interval(share: Estimate | None, signed: bool = False) -> str:
    """``93.0 ± 4.1``, of shares in percent; without interval for one seed.

    ``98.0 (94.1–100)`` where ± would leave 0 to 100 %. Signed ones are differences, which may.
    """
    if share is None or share.half_width is None:
        return number(None if share is None else share.mean, signed)
    low, high = share.mean - share.half_width, share.mean + share.half_width
    if signed or (low, high) == (cut := share.share()):
        return f"{number(share.mean, signed)} ± {number(share.half_width)}"
    ends = (number(end) if 0 < end < 1 else f"{100 * end:.0f}" for end in cut or ())
    return f"{number(share.mean)} ({NOTHING.join(ends)})"


def measured(value: Estimate | None, unit: str = "", signed: bool = False) -> str:
    """``1.23 ± 0.1 rounds``, of what is no share: three digits, and two of the interval."""
    if value is None:
        return NOTHING
    told = f"{value.mean:{'+' if signed else ''}.3g}".replace("-", MINUS)
    if value.half_width is not None:
        told += f" ± {value.half_width:.2g}"
    return f"{told} {unit}".rstrip()


def short(value: float | None) -> str:
    """Three digits: ``0.13``, ``12.5``."""
    return NOTHING if value is None else f"{value:.3g}".replace("-", MINUS)
