"""How far a value walks through the package: ``python bench/walk.py [FOLDER WITH benchmark/]``.

Two walks, of the calls that lead from one place of the package into another one, each pair once:
of a value to its constructor, the places that stand above the composing of a configuration and
above the construction of its defense; of a suite's yaml to its ranked table, all that are called
(in the parent; what workers do inside a round is no part of it). A place is a room, which is a
folder or a loose module directly below ``benchmark/``, and, in the second line, a module.

- rooms, modules: how many take part;
- climbs: calls into a place that lies above the caller's; a module lies one above the highest
  that it imports at its top, a room where the order that ``make lint`` asserts puts it, and where
  there is none one above the highest that it imports anywhere (rooms that import each other, by
  their names);
- returns: calls into a place that was entered before.
"""

import ast
import os
import runpy
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

TINY = (
    "data=digits5k task.num_tasks=2 federation.rounds=1 federation.clients_per_round=2 "
    "federation.local_epochs=1 engine.workers=1 tracking=none"
)
PARAMS = "suite: {name: smoke, axes: {attack: [none], defense: [mean, norm_clip]}, seeds: [0]}\n"
RUN = ["run", "attack=none", "defense=norm_clip", *TINY.split()]
SUITE = ["suite", "smoke", *TINY.split(), "--params", "p.yaml", "--workers", "1"]


def trace(root: Path, out: Path, ends: list[str], arguments: list[str]) -> None:
    """Run a command; write who calls whom, or only who stands above the first calls of ``ends``."""
    package, pairs, waited = f"{root / 'benchmark'}/", {}, [*ends]

    def files(frame):  # a template is no module, and what a module does at its import no call
        while frame:
            name = frame.f_code.co_filename
            if name.startswith(package) and name.endswith(".py"):
                yield name if frame.f_code.co_name != "<module>" else ""
            frame = frame.f_back

    def profile(frame, event, _):
        name = frame.f_code.co_qualname
        if event != "call" or not frame.f_code.co_filename.startswith(package):
            return
        if name in waited or not ends:
            above = list(files(frame))[: None if ends else 2]
            pairs.update(dict.fromkeys(reversed(list(zip(above[1:], above, strict=False)))))
        if name in waited:
            waited.remove(name)

    sys.path.insert(0, str(root))
    sys.argv = ["benchmark", *arguments]
    sys.setprofile(profile)
    try:
        runpy.run_module("benchmark", run_name="__main__")
    finally:
        sys.setprofile(None)
        with out.open("a") as file:
            file.writelines(f"{a}\t{b}\n" for a, b in pairs if a != b and a and b)


def walk(root: Path, ends: str, *commands: list[str]) -> str:
    """The three numbers of a walk over these commands, by rooms and by modules."""

    def imports(path: Path, nodes) -> set[Path]:
        found = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        names = [f"{n.module}.{a.name}" for n in found for a in n.names] + [n.module for n in found]
        below = {root / (name.replace(".", "/") + ".py") for name in names if name}
        return {path for path in below if path.exists()}

    @cache
    def height(path: Path) -> int:
        below = imports(path, ast.parse(path.read_text()).body)
        return 1 + max((height(p) for p in below), default=0)

    def room(path: Path) -> str:
        return path.relative_to(root / "benchmark").parts[0]

    below = defaultdict[str, set[str]](set)
    for path in (root / "benchmark").rglob("*.py"):
        below[room(path)] |= {*map(room, imports(path, ast.walk(ast.parse(path.read_text()))))}

    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    contracts = contracts.get("importlinter", {}).get("contracts", [])
    order = next((c["layers"] for c in contracts if c.get("containers") == ["benchmark"]), [])
    declared = {n.strip(): -i for i, names in enumerate(order) for n in names.split("|")}

    def room_height(name: str, above: frozenset[str] = frozenset()) -> int:
        if declared:
            return declared.get(name, 1)  # what starts the program lies above all
        lower = sorted(below[name] - above - {name})
        return 1 + max((room_height(n, above | {name}) for n in lower), default=0)

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "p.yaml").write_text(PARAMS)
        out, place = Path(folder, "out"), os.environ | {"PYTHONPATH": str(root)}
        for command in commands:
            words = [sys.executable, __file__, str(root), str(out), ends, *command]
            subprocess.run(words, cwd=folder, env=place, check=True, stdout=subprocess.DEVNULL)
        lines = dict.fromkeys(line for line in out.read_text().splitlines())
    pairs = [tuple(map(Path, line.split("\t"))) for line in lines]
    moves = dict.fromkeys((room(a), room(b)) for a, b in pairs if room(a) != room(b))
    return f"{_told(moves, cache(room_height), 'rooms')}; {_told(pairs, height, 'modules')}"


def _told(pairs, height, name: str) -> str:
    entered = [callee for _, callee in pairs]
    climbs = sum(height(a) < height(b) for a, b in pairs)
    places = len({*entered, *(caller for caller, _ in pairs)})
    return f"{places} {name}, {climbs} climbs, {len(entered) - len({*entered})} returns"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        trace(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(), sys.argv[4:])
    else:
        root = Path(sys.argv[1] if len(sys.argv) == 2 else ".").resolve()
        print("value → constructor:", walk(root, "compose NormClip.__init__", RUN))
        print("suite → table:", walk(root, "", SUITE, ["leaderboard", "smoke"]))
