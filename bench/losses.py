"""Lose nodes, workers and the command at random moments of a suite and of a study on Ray.

    python -m bench.losses

On a cluster of this machine, a head and two nodes with a folder each, a suite of small cells runs,
then a study. At random moments a worker, a node, or the command that runs it all gets SIGKILL; lost
nodes are replaced, a command is started again. Then it runs to its end. It must exit with 0, no log
may hold a traceback, nothing may be left on the nodes. A record that was written once must stay as
it is, every cell and every trial must have one, and no trial two; each record and final model must
equal what the same cell gives in one process without Ray.
"""

import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import TrialState

from bench.kills import PATIENCE_SECONDS, Command, prepare
from bench.measure import facts, say
from bench.nodes import Nodes
from bench.report import Result, Table, Value, arguments
from benchmark.run.cell import Cell
from benchmark.run.record import Record
from benchmark.run.runner import run
from benchmark.run.suite import records

SMALL = (
    "data=digits5k task.num_tasks=2 federation.clients_per_round=3 federation.local_epochs=1 "
    "federation.evaluate_every=1 federation.checkpoint_every=1 engine.workers=1 tracking=none"
)
TRIALS = 12
WORDS = {
    "suite": f"suite smoke --params params.yaml {SMALL} federation.rounds=80",
    "study": (
        f"tune attack {SMALL} federation.rounds=20 federation.client_lr=0.001 defense=norm_clip "
        f"defense.norm_bound=0.1 --trials={TRIALS} --best=1 --name=smoke "
        "--storage=sqlite:///study.db"
    ),
}
KINDS = ("worker", "node", "command")
MOST = 10
LONGEST_SECONDS = 12.0
"""Between two losses."""


class Campaign:
    """Runs commands on nodes, and knows what must come of their cells.

    Args:
        nodes: on which they run.
        folder: for what cells give in this process.
        draws: of moments, and of what is lost.
    """

    def __init__(self, nodes: Nodes, folder: Path, draws: random.Random):
        self.nodes, self.folder, self.draws = nodes, folder, draws

    def trial(self, folder: Path, words: str, losses: int) -> tuple[list[str], list[str]]:
        """Lose so much, or until it has ended, then let it end.

        Returns:
            What was lost and in which second, and what is wrong.
        """
        prepare(folder)
        words = f"{words} executor=ray executor.address={self.nodes.address}"
        commands, done, faults = [Command(folder, 0, words)], list[str](), list[str]()
        written: dict[Path, int] = {}
        start = time.monotonic()
        while len(done) < losses:
            if commands[-1].ends_within(self.draws.uniform(0, LONGEST_SECONDS)):
                break
            kind = self.draws.choice(KINDS)
            if kind == "worker" and not self.nodes.workers():
                continue
            done.append(f"{kind} {time.monotonic() - start:.0f}")
            if kind == "worker":
                self.nodes.kill_worker(self.draws.randrange(len(self.nodes.workers()) or 1))
            elif kind == "node":
                self.nodes.lose(self.draws.randrange(2))
            else:
                commands[-1].process.kill()
                commands[-1].process.wait()
                faults += changed(written, folder)
                commands.append(Command(folder, len(commands), words))
        if not commands[-1].ends_within(PATIENCE_SECONDS):
            commands[-1].process.kill()
            return done, [*faults, "hangs"]
        if status := commands[-1].process.returncode:
            faults.append(f"exits with {status}")
        faults += changed(written, folder)
        faults += [
            f"{c.log.name} has a traceback" for c in commands if "Traceback" in c.log.read_text()
        ]
        faults += [f"{path} is left" for f in self.nodes.folders[-2:] for path in f.glob("fed*")]
        return done, faults + self.wrong(folder)

    def wrong(self, folder: Path) -> list[str]:
        """What is not as it comes without losses."""
        results = next(folder.glob("results/*"), folder)
        there = [Record.read(path) for path in sorted(results.glob("records/*.json"))]
        faults = [
            f"{record.cell} differs" for record in there if not self.is_equal(record, results)
        ]
        if (folder / "study.db").exists():
            return faults + wrong_trials(folder / "study.db")
        return faults + [f"{cell} has no record" for cell in records(results)[1]]

    def is_equal(self, record: Record, results: Path) -> bool:
        """Whether it and its final model are those of one process."""
        cell = Cell.of(record.overrides)
        here = run(cell, self.folder)
        models = [cell.weights_path(place) for place in (self.folder, results)]
        same = not models[1].exists() or len({model.read_bytes() for model in models}) == 1
        return same and record.result() == here.result()


def changed(written: dict[Path, int], folder: Path) -> list[str]:
    """Records that were written again since they were noted; notes all that are there."""
    now = {path: path.stat().st_mtime_ns for path in folder.glob("results/*/records/*.json")}
    again = [path for path, moment in written.items() if now.get(path) != moment]
    written |= now
    return [f"{path.name} is written twice" for path in again]


def wrong_trials(path: Path) -> list[str]:
    """What is not so that each trial of a study ended, and each once."""
    trials = optuna.load_study(study_name="smoke", storage=f"sqlite:///{path}").trials
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    different = {tuple(trial.user_attrs["overrides"]) for trial in ended}
    running = sum(trial.state == TrialState.RUNNING for trial in trials)
    told = {"ended": len(ended), "different": len(different)}
    faults = [f"{n} of {TRIALS} trials {what}" for what, n in told.items() if n != TRIALS]
    return faults + [f"{running} trials are running"] * bool(running)


def main(given: Sequence[str] | None = None) -> int:
    """Run trials until so much was lost; 1 if one differs."""
    parser = arguments(__doc__)
    parser.add_argument("--losses", type=int, default=20, help="of a suite and of a study, each")
    parser.add_argument("--seed", type=int, default=0, help="of moments, and of what is lost")
    asked = parser.parse_args(given)
    about = facts("bench.losses", sys.argv[1:] if given is None else given)
    draws, rows = random.Random(asked.seed), list[list[Value]]()
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("nodes", "here", *WORDS):
            (Path(temporary) / name).mkdir()
        nodes = Nodes(Path(temporary) / "nodes")
        campaign = Campaign(nodes, Path(temporary) / "here", draws)
        try:
            for name, words in WORDS.items():
                lost = 0
                while lost < asked.losses:
                    folder = Path(temporary) / name / f"trial-{len(rows)}"
                    most = draws.randint(1, min(MOST, asked.losses - lost))
                    done, faults = campaign.trial(folder, words, most)
                    lost += len(done)
                    rows.append([name, ", ".join(done), "; ".join(faults) or "equal"])
                    say("  ".join(map(str, rows[-1])))
        finally:
            nodes.close()
    counted = [[name, *(count(rows, name, kind) for kind in KINDS)] for name in WORDS]
    title = f"lost in all, in trials of which {sum(r[-1] == 'equal' for r in rows)} are equal"
    tables = [
        Table(f"{title} and {sum(r[-1] != 'equal' for r in rows)} are not", ("", *KINDS), counted),
        Table("what was lost, and in which second", ("", "lost", "outcome"), rows),
    ]
    Result("losses", about, {"trials": rows}, tables).publish(asked.out)
    return int(any(row[-1] != "equal" for row in rows))


def count(rows: Sequence[Sequence[Value]], name: str, kind: str) -> int:
    """How often such a thing was lost in trials of a suite, or of a study."""
    return sum(str(row[1]).count(kind) for row in rows if row[0] == name)


if __name__ == "__main__":
    sys.exit(main())
