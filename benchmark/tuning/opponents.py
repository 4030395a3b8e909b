"""The attacks that a defense is to withstand, as they come or as users write them."""

import shlex

from benchmark.config.compose import compose, parse_overrides
from benchmark.tuning.attacker import families
from benchmark.tuning.game import Strategy
from benchmark.utils.errors import UserError


def fixed_attacks() -> list[Strategy]:
    """Every attack that compromises anybody, as its yaml has it."""
    return [(f"attack={family}",) for family in families()]


def read_attack(text: str) -> Strategy:
    """An attack as a user writes it, ``"attack=boosted attack.epochs=2"``.

    Raises:
        UserError: it is none, or chooses something else too.
    """
    where = f"--against '{text}'"
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"{where}: {str(error).lower()}") from None
    overrides = parse_overrides(words)
    for override in overrides:
        if override.key_or_group.partition(".")[0] != "attack":
            raise UserError(f"{where}: '{override.input_line}' is not of the attack")
    chosen = [str(o.value()) for o in overrides if o.key_or_group == "attack"]
    if len(chosen) != 1:
        raise UserError(f"{where}: must choose one attack, such as 'attack=boosted'")
    if chosen[0] not in families():
        raise UserError(
            f"{where}: compromises nobody; valid: attack={', attack='.join(families())}"
        )
    compose(words)
    return tuple(str(o.input_line) for o in overrides)
