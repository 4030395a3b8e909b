"""What is known of the machine."""

import pytest
import torch

from benchmark.utils.machine import environment


def test_the_build_of_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metadata of the ordinary build say 2.13.0, torch itself 2.13.0+cu130."""
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu999")
    environment.cache_clear()
    try:
        assert environment()["torch"] == "2.13.0+cu999"
    finally:
        environment.cache_clear()
