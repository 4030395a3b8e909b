"""``tune race``: attacker and defender answer each other."""

import argparse
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.cli.session import Session
from benchmark.results.gates import TOLERANCE
from benchmark.results.statistics import estimate
from benchmark.tuning.attacker import Attacker, fixed_attacks, read_attack
from benchmark.tuning.federated_game import Answer, FederatedGame
from benchmark.tuning.federations import UNDEFENDED, Federations, parted
from benchmark.tuning.problem import FinishedTrial
from benchmark.tuning.race import Move, ResponseSearch, exploit, race
from benchmark.utils.errors import UserError
from benchmark.utils.urls import shown

if TYPE_CHECKING:
    from benchmark.tuning.sections import TuningReport

MOVES = 4


def main(arguments: argparse.Namespace) -> int:
    """Do it; the exit status."""
    moves = MOVES if arguments.moves is None else arguments.moves
    if moves < 1:
        raise UserError(f"--moves must be at least 1, got {moves}")
    lines = parted(arguments.overrides)
    for line in lines["attack"]:
        raise UserError(f"'{line}': --against '{line}' says which attacks to start with")
    defense = tuple(lines["defense"]) or UNDEFENDED
    overrides, name = tuple(lines["else"]), arguments.name or "race"
    session = Session(arguments, name, [*overrides, *defense])
    attacks = list(map(read_attack, arguments.against)) or fixed_attacks()

    # A move follows from those before it, so with another budget it is a move of another race.
    budget = {key: getattr(arguments, key) for key in ("trials", "best", "fresh")}
    part_of = {"race": budget | {"against": arguments.against}}

    def run(search: ResponseSearch, problem: Attacker | Answer) -> Sequence[FinishedTrial]:
        seed = arguments.sampler_seed + search.fresh
        study = session.study(f"{name}-{search.name}", problem, seed, part_of)
        study.open()
        return session.run(study)

    def tell(move: Move) -> None:
        gain = estimate(move.gain or {})
        points = "nothing" if gain is None else f"{100 * gain.mean:+.1f} points"
        noise = "" if move.gains else ", no more than the noise"
        session.tell(f"move {move.number}, {move.side}: gains {points}{noise}")

    federations = Federations(overrides, session.at)
    seeds, fresh = tuple(session.seeds), tuple(session.fresh)
    game = FederatedGame(federations, seeds, fresh, arguments.best, run)
    first, answer = game.attacker(defense), game.defender(tuple(attacks))
    session.check(first, answer)
    # What makes the first study another one is to be known before anything is written.
    session.study(f"{name}-1-attack", first, part_of=part_of).open()
    minutes = math.inf if arguments.minutes is None else arguments.minutes
    deadline = session.started + 60 * minutes

    def find() -> "TuningReport":
        # Imported late, as all that draws.
        from benchmark.tuning.race_sections import RaceReport

        went = race(game, attacks, defense, moves, tell, lambda: time.time() >= deadline)
        session.tell("a fresh attacker and a fresh defender against the final pair")
        left = exploit(game, went.final, len(went.moves))
        given = answer.describe()
        options = ("trials", "sampler", "pruner", "sampler_seed")
        description = {
            "problem": "race",
            **{key: getattr(arguments, key) for key in options},
            "tolerance": TOLERANCE,
            **{key: given[key] for key in ("configuration", "data", "seeds", "attacks")},
        }
        return RaceReport(name, shown(session.url), overrides, description, fresh, went, left)

    return session.report(find)
