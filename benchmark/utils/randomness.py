"""The only source of randomness: every draw comes from ``(seed, round, purpose)``.

No generator outlives its use, so nothing has to be saved for a run to resume bit by bit.
"""

import hashlib

import numpy as np
import torch


def derive(seed: int, round: int, purpose: str) -> int:
    """A 63-bit integer that depends on nothing but ``(seed, round, purpose)``.

    Stable over processes, machines and Python versions (BLAKE2b of the three values).
    """
    digest = hashlib.blake2b(f"{seed}/{round}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(
    seed: int, round: int, purpose: str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh torch generator for one purpose in one round; use ``round=0`` outside rounds."""
    return torch.Generator(device=device).manual_seed(derive(seed, round, purpose))


def numpy_generator(seed: int, round: int, purpose: str) -> np.random.Generator:
    """As :func:`generator`, for numpy."""
    return np.random.Generator(np.random.PCG64(derive(seed, round, purpose)))
