"""No password leaves the program by a file, a page or a message."""

import pytest

from benchmark.utils.urls import concealed, redacted, revealed, shown

SECRET = "hunter2"
FORMS = (
    f"postgresql://me:{SECRET}@host/runs",
    f"postgresql+psycopg2://me:{SECRET}@host:5432/runs?sslmode=require",
    f"mysql://me:a/{SECRET}@host/runs",
    f"mysql://me:a?{SECRET}@host/runs",
    f"mssql://me:a#{SECRET}@host/runs",
    f"https://me:a@{SECRET}@host/path",
    f"http://:{SECRET}@host:5000",
    f"postgresql://host/runs?user=me&password={SECRET}",
    f"postgresql://host/runs?PASSWORD=a#{SECRET}&user=me",
    f"sqlite:///runs.db?token={SECRET}",
)


@pytest.mark.parametrize("address", FORMS)
def test_an_address_is_shown_without_its_password_and_connected_to_with_it(address: str) -> None:
    hidden = concealed(address)
    assert SECRET not in hidden
    assert "***" in hidden
    assert revealed(hidden) == address
    assert shown(hidden) == hidden
    assert concealed(f"tracking.uri='{address}'") == f"tracking.uri='{hidden}'"
    assert SECRET not in shown(f"OperationalError: cannot reach {address}")
    assert SECRET not in redacted(f"no number: '{SECRET}'", address)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:///mlflow.db",
        "http://127.0.0.1:5000",
        "postgresql://me@host/runs",
        "attack.boost=3",
        "me@host",
        "https://host/path?page=2",
    ],
)
def test_what_holds_no_password_stays_as_it_is(text: str) -> None:
    assert concealed(text) == revealed(text) == shown(text) == text
