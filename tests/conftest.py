"""Settings and fixtures that all tests share."""

import logging

import pytest
from hypothesis import settings

from benchmark.data.dataset import FederatedDataset
from tests.toys import make_dataset

# The same examples in every run, however slow the machine.
settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


@pytest.fixture(scope="session")
def dataset() -> FederatedDataset:
    """Six users of black and white noise, ten classes."""
    return make_dataset()
