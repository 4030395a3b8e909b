"""What docstrings and documents show as Python runs, and says what it is shown to say."""

import doctest
import re
from importlib import import_module

import pytest

from tests.support.running import ROOT

SHOWING = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "benchmark").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]
BLOCKS = [
    pytest.param(name, text, id=f"{name}-{i}")
    for name in ("README.md", "CONTRIBUTING.md", "bench/README.md")
    for i, text in enumerate(
        re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text("utf-8"), re.M | re.S)
    )
]


@pytest.mark.parametrize("module", SHOWING)
def test_examples_in_docstrings(module: str) -> None:
    result = doctest.testmod(import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(("name", "text"), BLOCKS)
def test_python_in_documents(name: str, text: str) -> None:
    scope = {"__file__": str(ROOT / "tests" / "example.py"), "__name__": name}
    if ">>> " not in text:
        exec(compile(text, name, "exec"), scope)
        return
    examples = doctest.DocTestParser().get_doctest(text, scope, name, name, 0)
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_every_task_has_a_section_and_a_picture() -> None:
    names = {path.stem for path in (ROOT / "conf" / "task").glob("*.yaml")}
    text = (ROOT / "docs" / "tasks.md").read_text("utf-8")
    assert {*re.findall(r"^### (\w+)$", text, re.M)} == names
    assert {*re.findall(r"\]\(tasks/(\w+)\.png\)", text)} == names
    assert {path.stem for path in (ROOT / "docs" / "tasks").glob("*.png")} == names


def test_something_is_shown() -> None:
    assert len(SHOWING) >= 4
    assert len(BLOCKS) >= 2
