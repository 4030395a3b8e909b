"""The verbs of the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from benchmark import __version__
from benchmark.results.columns import COLUMNS, FAMILIES
from benchmark.utils.errors import FullError, UserError, program
from benchmark.utils.urls import concealed, shown

PROGRAM = program()

OVERRIDES = f"""\
overrides are Hydra's: group=name chooses, group.key=value sets. For example
  attack=norm_bounded attack.norm_bound=3 defense=norm_clip seed=1
`{PROGRAM} list` shows the groups' choices and their parameters."""

TUNE = f"""\
`tune attack`: the overrides choose the defense and all else that is not the attacker's, for example
  {PROGRAM} tune attack defense=norm_clip defense.norm_bound=0.5 --trials 100
Attacks and their parameters are searched where their yamls say; `list attacks` shows it. The
objective is in-sample backdoor accuracy; main accuracy must stay within 2 points of no attack.
The same command goes on with a study, after a kill too, and two at once share the work. The best
trials are then run on seeds that the search never saw, beside the attacks that nobody tuned:
RESULTS/tuning-NAME/tuning.md says how they compare. `leaderboard` shows the winner beside the fixed
attacks in every suite that has this defense in this setting.

`tune defense` searches the defense whose worst case over several attacks is the least, while
main accuracy stays within the leaderboard's gate of 5 points, attacked or not, such as
  {PROGRAM} tune defense --against attack=boosted --against "attack=norm_bounded
    attack.rounds=10" --trials 50
By default these are all attacks as their yamls have them. defense=NAME, repeatable, searches that
one alone. With --pareto main accuracy is no bound but searched too, and the result is a front.

`tune race` has both answer each other, from no defense or the one that the overrides choose, until
neither gains more than the noise, and says how far that is from an equilibrium: what a fresh
attacker and a fresh defender still gain. All of its studies are kept: the same command goes on.

With --params, all studies of that file are made one after another, or with --name only that one,
in the setting of the file's suite and with its budget, where the command line has no other:
`make tune` does so, and DVC. Another setting is another study
then, by itself."""

TABLE = "one row a run; columns (docs/table.md says more):\n" + "\n".join(
    f"  {c.name:<17} {c.meaning}" + (f", {c.unit}" if c.unit else "") for c in (*COLUMNS, *FAMILIES)
)

SUITE = {"dest": "name", "help": "a suite of conf/suite, such as default or smoke"}
FIRST: dict[str, dict[str, Any]] = {
    "suite": SUITE,
    "leaderboard": SUITE,
    "export": SUITE,
    "reproduce": {"dest": "profile", "help": "paper (a GPU), qmnist (hours), quick (minutes)"},
    "tune": {"dest": "what", "choices": ("attack", "defense", "race")},
}
"""The word that comes first after a verb."""
PLUGINS = "with the attacks, defenses, ... of a folder, laid out as conf/ is"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Can federated learning really be backdoored? Runs federations under attack "
        "and defense, records every one, and ranks the defenses.",
        epilog=f"Start with: {PROGRAM} run attack=boosted   (one federation), or "
        f"{PROGRAM} suite default   (a leaderboard's worth).",
    )
    parser.add_argument("--version", action="version", version=f"fedbackdoor {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, help: str, overrides: bool = False) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name,
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=OVERRIDES if overrides else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in FIRST:
            sub.add_argument(**FIRST[name])
        if overrides:
            sub.add_argument(
                "overrides", nargs="*", default=[], metavar="OVERRIDE", help="see below"
            )
        several(sub, "--plugins", "FOLDER", PLUGINS, Path)
        return sub

    def several(
        sub: argparse.ArgumentParser, option: str, metavar: str, help: str, kind: type = str
    ) -> None:
        said = f"{help}; repeatable"
        sub.add_argument(option, action="append", default=[], metavar=metavar, help=said, type=kind)

    def results(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--results", type=Path, default=Path("results"), help="folder of all results"
        )

    sub = verb("partition", "divide a data set among users and write it with a picture", True)
    sub.add_argument("--params", type=Path, metavar="FILE", help="take the data of a params.yaml")
    sub.add_argument("--out", type=Path, help="folder to write; by default one under data/")
    sub = verb("run", "run one federation, or go on with it, and print its record's path", True)
    sub.add_argument("--json", action="store_true", help="print the record itself")
    results(sub)
    sub = verb("suite", "run all cells of a suite that have no record yet", True)
    sub.add_argument("--params", type=Path, metavar="FILE", help="with the edits of a params.yaml")
    sub.add_argument("--workers", type=int, help="cells at a time; by default one for each core")
    results(sub)
    sub = verb("leaderboard", "rank a suite's defenses and attacks; terminal, md, html, json")
    results(sub)
    sub = verb("export", "write the table of a suite's runs, or its leaderboard for a paper")
    sub.epilog = TABLE
    sub.add_argument("--format", choices=("csv", "parquet", "latex"), default="csv", help="(csv)")
    sub.add_argument("--out", type=Path, metavar="FILE", help="by default the terminal")
    sub.add_argument("--columns", metavar="A,B,...", help="csv, parquet: these; by default all")
    results(sub)
    sub = verb("reproduce", "run the paper's experiments and judge its claims", True)
    several(sub, "--only", "SUITE", "only this suite")
    sub.add_argument("--workers", type=int, help="federations at a time; by default one per core")
    results(sub)
    sub = verb("tune", "search for the strongest attack, the best defense, or both (Optuna)", True)
    sub.epilog = TUNE
    sub.add_argument("--trials", type=int, metavar="N", help="finished ones in total (50)")
    sub.add_argument(
        "--name", help="of the study; by default attack-on-DEFENSE with what its parameters change"
    )
    sub.add_argument(
        "--params", type=Path, metavar="FILE", help="the studies and the budget of a params.yaml"
    )
    sub.add_argument(
        "--storage",
        metavar="URL",
        help="of studies: sqlite:///FILE.db (by default RESULTS/tuning.db), journal:///FILE.log "
        "where machines share a folder, postgresql://USER@HOST/DATABASE or mysql://... where they "
        "share a server; the same command with the same URL and --name joins a study",
    )
    several(
        sub,
        "--warm-start",
        "STUDY",
        "attack, defense: try the best settings of an earlier study of the same storage first, "
        "on another defense for example",
    )
    sub.add_argument("--sampler", choices=("tpe", "random"), help="who chooses trials (tpe)")
    sub.add_argument(
        "--pruner",
        choices=("median", "hyperband", "none"),
        help="attack, race: gives hopeless trials up, by their backdoor accuracy round by round "
        "(median)",
    )
    sub.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="trials at a time, by default one for each core; with 1, the same command draws the "
        "same trials, with more they depend on which is finished first",
    )
    sub.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="no trial begins after these, and in a race no move; those that run are finished, "
        "and the best judged",
    )
    sub.add_argument("--sampler-seed", type=int, default=0, metavar="S", help="of its draws (0)")
    sub.add_argument("--seeds", type=int, metavar="N", help="to tune on (2)")
    sub.add_argument("--fresh", type=int, metavar="N", help="to judge on (3)")
    sub.add_argument("--best", type=int, metavar="N", help="trials to judge (3)")
    against = 'defense, race: an attack to withstand, "attack=NAME attack.key=value"'
    several(sub, "--against", "ATTACK", against)
    sub.add_argument("--pareto", action="store_true", help="defense: a front, not one winner")
    sub.add_argument("--moves", type=int, metavar="N", help="race: searches at most (4)")
    results(sub)
    sub = verb("report", "write the report of a reproduction from the evidence that it left")
    sub.add_argument("evidence", type=Path, help="the evidence.json.gz of a reproduction")
    sub.add_argument("--out", type=Path, default=Path(), help="folder to write; by default here")
    sub.add_argument("--discussion", type=Path, help="Markdown to end the report with")
    sub = verb("track", "log the records to MLflow that it does not have yet")
    sub.add_argument("name", nargs="*", help="suites; by default all results there are")
    sub.add_argument("--uri", help="tracking server; by default MLFLOW_TRACKING_URI or SQLite")
    results(sub)
    sub = verb("list", "show what there is to choose from")
    sub.add_argument("kind", nargs="?", help="attacks, defenses, tasks, data, models, suites, ...")
    form = sub.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as a page, a card each")
    sub = verb("new", "begin an attack or a defense of your own: class, yaml and test")
    sub.add_argument("kind", choices=("attack", "defense"))
    sub.add_argument("name", help="as in defense=NAME")
    sub.add_argument("--folder", type=Path, default=Path("plugins"), help="where to (plugins)")
    sub = verb("params", "write params.yaml, which DVC follows, from conf/")
    sub.add_argument("name", nargs="?", default="default", help="the suite that DVC runs")
    sub.add_argument("--out", type=Path, default=Path("params.yaml"))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; a user's mistake is one line on stderr and exit status 2."""
    try:
        parsed, rest = _parser().parse_known_args(arguments)
        for word in rest:
            if word.startswith("-") or not hasattr(parsed, "overrides"):
                raise UserError(f"unknown argument '{word}'; see {PROGRAM} --help")
            parsed.overrides.append(word)
        if hasattr(parsed, "overrides"):
            parsed.overrides = [*map(concealed, parsed.overrides)]
        # Imported late, as every verb imports what it needs: help should not wait.
        from benchmark.config import plugins

        plugins.use(parsed.plugins)
        status = int(import_module(f"benchmark.cli.{parsed.verb}").main(parsed))
        sys.stdout.flush()
        return status
    except UserError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("fedbackdoor: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe is gone; the interpreter's own flush at exit must not say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FullError as error:
        print(f"fedbackdoor: {_line(str(error))}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        return _refuse(f"{error.filename}: {error.strerror}")


def _refuse(message: str) -> int:
    print(f"fedbackdoor: error: {_line(message)}", file=sys.stderr)
    return 2


def _line(message: str) -> str:
    """One line, without passwords and without what a terminal would obey."""
    words = " ".join(shown(message).split())
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in words)
