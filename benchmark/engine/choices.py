"""Decisions that are taken by measuring, and kept: the same machine decides the same again."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmark.engine.client import ClientModule
from benchmark.utils.errors import one_line
from benchmark.utils.files import cache_folder, locked, write_json

log = logging.getLogger("benchmark")

_SECONDS = 0.4
"""For the comparison after the first calls of each candidate."""
_HOPELESS = 3
"""A candidate that takes so many times the best is not called again."""
_WARM_UP_SECONDS = 0.1
"""A first call that takes longer is not slow because it is the first."""


def remembered(
    question: Sequence[Any], possible: Collection[str], decide: Callable[[], str]
) -> str:
    """The answer that ``decide`` gave when this question first came up on this machine.

    Several processes that ask at once get one answer. Other code of the engines, another torch
    or another processor is another question. A file that is damaged, or holds an answer that is
    not possible, is as good as none.

    Args:
        question: values that JSON can hold.
        possible: the answers that there are.
        decide: gives one of them.
    """
    machine = [torch.__version__, _processor(), _code()]
    key = hashlib.sha256(json.dumps([*machine, *question]).encode()).hexdigest()[:16]
    path = cache_folder() / "choices" / f"{key}.json"
    try:
        with locked(path.with_suffix(".lock")):
            try:
                answer = json.loads(path.read_text(encoding="utf-8"))["answer"]
            except (FileNotFoundError, ValueError, KeyError, TypeError, RecursionError):
                answer = None
            if answer not in possible:
                answer = decide()
                write_json(path, {"question": question, "answer": answer})
            return str(answer)
    except OSError as error:
        log.warning("%s: %s; measuring again each time", path.parent, one_line(error))
        return decide()


def described(client: ClientModule) -> str:
    """What a model is made of, for a question."""
    return f"{client.model} {client.shapes} {client.dtype}"


@dataclass(frozen=True)
class Candidate:
    """Work to be timed, and the number of threads that share it."""

    work: Callable[[], object]
    threads: int = 1

    def seconds(self) -> float:
        """What a call takes: until a GPU is done with it, or of a CPU's time for each thread.

        CPU time and not wall time, since other processes must not sway a choice that is kept.
        """
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
            start = time.perf_counter()
            self.work()
            torch.cuda.synchronize()
            return time.perf_counter() - start
        start = time.process_time()
        self.work()
        return (time.process_time() - start) / self.threads


def fastest(candidates: Mapping[str, Candidate]) -> tuple[str, dict[str, float]]:
    """Call the candidates in turns; returns the fastest and the least seconds of each."""
    best: dict[str, float] = {}
    for name, candidate in candidates.items():
        first = candidate.seconds()
        hopeless = best and first > max(_HOPELESS * min(best.values()), _WARM_UP_SECONDS)
        best[name] = first if hopeless else candidate.seconds()
    hopeful = [name for name in best if best[name] < _HOPELESS * min(best.values())]
    end = time.perf_counter() + _SECONDS
    while len(hopeful) > 1 and time.perf_counter() < end:
        for name in hopeful:
            best[name] = min(best[name], candidates[name].seconds())
    return min(best, key=best.__getitem__), best


def _processor() -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{gpu}, {os.cpu_count()} x {torch.backends.cpu.get_cpu_capability()}"


@cache
def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.[ch py]*")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
