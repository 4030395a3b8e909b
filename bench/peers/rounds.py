"""A simulator's end of the line to the process that compares it: rounds on command, each timed."""

import json
import os
import sys
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.peers.work import flat

GLOBAL_MODEL = "theta.npy"


class Rounds:
    """A line on stdin starts a round; a line of JSON on stdout says how long it took.

    What the simulator itself prints goes to stderr.

    Args:
        folder: where the global model is left after every round, outside the time.
        packages: whose versions are reported.
    """

    def __init__(self, folder: Path, packages: Iterable[str]):
        self.folder = folder
        self.answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self.versions = {package: version(package) for package in ("torch", "numpy", *packages)}
        self.started = 0.0

    def ready(self) -> None:
        """The simulator is set up."""
        self._answer({"versions": self.versions, "torch_threads": torch.get_num_threads()})

    def begin(self) -> bool:
        """Wait for the command and start the clock; False when there are no more rounds."""
        asked = sys.stdin.readline()
        self.started = time.perf_counter()
        return bool(asked)

    def end(self, parameters: Iterable[Tensor]) -> None:
        """Stop the clock; ``parameters`` are the new global model's."""
        seconds = time.perf_counter() - self.started
        np.save(self.folder / GLOBAL_MODEL, flat(parameters))
        self._answer({"seconds": seconds})

    def _answer(self, content: dict[str, object]) -> None:
        print(json.dumps(content), file=self.answers, flush=True)
