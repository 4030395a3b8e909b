"""``make dashboard`` on the studies of either storage."""

import json
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.running import ROOT
from tests.support.serving import free_port, started, stop
from tests.support.tuning_toy import Place

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("scheme", ["sqlite", "journal"])
def test_the_dashboard_opens_on_a_study(tmp_path: Path, scheme: str) -> None:
    place = Place(tmp_path, scheme)
    place.run(3)
    port = free_port()
    # Without the installation, which another test may need at this moment.
    make = ["make", "--assume-old=setup", "dashboard", f"STORAGE={place.url}"]
    server, address = started(["env", f"PORT={port}", *make], port, tmp_path, ROOT)
    try:
        with urlopen(f"{address}/api/studies", timeout=60) as answer:
            (study,) = json.load(answer)["study_summaries"]
        assert study["study_name"] == "toy"
        with urlopen(f"{address}/api/studies/{study['study_id']}", timeout=60) as answer:
            trials = json.load(answer)["trials"]
        assert [trial["number"] for trial in trials] == [0, 1, 2]
        assert [trial["values"] for trial in trials] == [t.values for t in place.trials()]
    finally:
        stop(server)
