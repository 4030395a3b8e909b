"""The field's words and symbols for what a configuration chooses."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

SIGMA = "\N{GREEK SMALL LETTER SIGMA}"

TITLES = {
    "fig1_participation": ("Figure 1", "the unconstrained attack, by number of adversaries"),
    "fig2_norm_bounded": ("Figure 2", "the norm-bounded attack, by number of adversaries"),
    "fig3_tasks": ("Figure 3", "more and more backdoor tasks"),
    "fig4a_norm_clipping": ("Figure 4a", "norm clipping"),
    "fig4b_weak_dp": ("Figure 4b", "noise on top of clipping (weak differential privacy)"),
    "lifetime": ("Lifetime", "what is left of a backdoor when the attack stops"),
    "lifetime_undefended": ("Lifetime, undefended", "what is left of it without a defense"),
    "code_form": ("Code form", "does the code's attack differ from the text's?"),
    "weighting": ("Weighting", "clients weighted by examples, or all alike"),
    "norms": ("Norms", "how long honest updates are"),
}
"""Suite → its short name and what it is about, in the order of a report."""

METRICS = {
    "main_accuracy": "main",
    "backdoor_in_sample": "in-sample",
    "backdoor_held_out": "held-out",
    "source_accuracy_targets": "honest target users' 7s",
    "source_accuracy_all": "all users' 7s",
    "honest_norm_median": "median honest norm",
    "honest_norm_max": "largest honest norm",
}
NAMES = {
    "attack": {
        "none": "no attack",
        "boosted": "boosted attack",
        "norm_bounded": "norm-bounded attack",
    },
    "attack.form": {"paper": "paper form", "code": "code form"},
    "attack.backdoor_batch": {"full": "attack, full batch", "batch": "attack, small batches"},
    "participation": {
        "fixed_frequency": "fixed frequency",
        "random_sampling": "random sampling",
    },
    "defense": {
        "mean": "no defense",
        "norm_clip": "clipping only",
        "norm_reject": "rejection",
        "weak_dp": "clipping and noise",
    },
    "federation.weighting": {"uniform": "uniform mean", "examples": "weighted by examples"},
    "metric": METRICS,
}
SYMBOLS: dict[str, Callable[[Any], str]] = {
    "participation.frequency": lambda v: f"f = {v}",
    "participation.fraction": lambda v: f"ε = {percent(float(v))}",
    "participation.window": lambda v: "attack in a window" if v not in (None, "null") else "",
    "defense.norm_bound": lambda v: f"M = {short(v)}",
    "defense.noise_std": lambda v: f"{SIGMA} = {short(v)}",
    "defense.noise_on": lambda v: f"on the {v}",
    "attack.norm_bound": lambda v: f"attacker's M = {short(v)}",
    "task.num_tasks": lambda v: f"{v} tasks",
    "measure": lambda v: str(v).replace("_", " "),
    "suite": lambda v: "no attack, no defense" if v == "norms" else title(v)[0],
}


def title(suite: str) -> tuple[str, str]:
    """Short name of a suite, and what it is about."""
    return TITLES.get(suite, (suite.replace("_", " ").capitalize(), ""))


def ordered(suites: Collection[str]) -> list[str]:
    """Suites in the order of a report: the paper's figures, then others by name."""
    known = list(TITLES)
    return sorted(suites, key=lambda s: (known.index(s) if s in known else len(known), s))


def short(value: Any) -> str:
    """A number with three digits."""
    return f"{float(value):.3g}"


def percent(share: float) -> str:
    """A small share, such as ε, with two digits."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.3g} %"


def entry(chosen: Mapping[str, Any], varied: Collection[str]) -> str:
    """The name of what has been chosen, from the keys that vary; empty where none does."""
    return ", ".join(parts(chosen, varied).values())


def varying(chosen: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys that are not the same in all of them."""
    keys = {key for each in chosen for key in each}
    return {key for key in keys if len({repr(each.get(key)) for each in chosen}) > 1}


def defense(config: Mapping[str, Any]) -> str:
    """A defense with all its parameters."""
    chosen = config["defense"]
    bound = f" at M = {short(chosen['norm_bound'])}" if "norm_bound" in chosen else ""
    match chosen["name"]:
        case "norm_clip":
            return f"clipping{bound}"
        case "weak_dp":
            noise = f"{SIGMA} = {short(chosen['noise_std'])} on the {chosen['noise_on']}"
            return f"clipping{bound}, noise {noise}"
        case name:
            return NAMES["defense"].get(name, name) + bound


def attack(config: Mapping[str, Any]) -> str:
    """An attack with what tells its variants apart."""
    chosen = config["attack"]
    name = NAMES["attack"].get(chosen["name"], chosen["name"])
    if chosen["name"] == "none":
        return name
    name = name.removesuffix(" attack")
    if chosen["name"] == "boosted":
        return f"{name}, {NAMES['attack.form'].get(chosen['form'], chosen['form'])}"
    if "backdoor_batch" in chosen:
        batch = NAMES["attack.backdoor_batch"].get(chosen["backdoor_batch"], "")
        return f"{name}, {batch.removeprefix('attack, ')}"
    return name


def participation(config: Mapping[str, Any]) -> str:
    """A participation model."""
    name = config["participation"]["name"]
    return NAMES["participation"].get(name, name)


def parts(chosen: Mapping[str, Any], varied: Collection[str]) -> dict[str, str]:
    """Group → words; parameters speak for the plug-in that they belong to."""
    keys = [key for key in chosen if key in varied]
    found: dict[str, list[str]] = {}
    for key in keys:
        group, _, parameter = key.partition(".")
        if not parameter and any(k.startswith(f"{group}.") for k in keys):
            continue
        if key in SYMBOLS:
            text = SYMBOLS[key](chosen[key])
        else:
            text = NAMES.get(key, {}).get(str(chosen[key]), _generic(key, chosen[key]))
        if text:
            found.setdefault(group, []).append(text)
    return {group: _joined(texts) for group, texts in found.items()}


def _joined(texts: list[str]) -> str:
    return ", ".join(texts).replace(", on the", " on the")


def _generic(key: str, value: Any) -> str:
    return f"{key.rpartition('.')[2].replace('_', ' ')} = {value}" if "." in key else str(value)
