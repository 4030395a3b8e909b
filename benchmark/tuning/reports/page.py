"""What a study left as one HTML file that needs nothing else: its report, pictures and trials.

Whatever study it was: the report is its Markdown, and the pictures are those of its folder.
Everything that comes from outside is escaped.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from benchmark.report import html as pages
from benchmark.results import trials
from benchmark.utils.files import atomic_file

MARKDOWN, PAGE = "tuning.md", "tuning.html"

CAPTIONS = {
    "history": "Every finished trial and the best so far, on the tuning seeds: optimistic, and "
    "only there to see whether the search still gains. Gray: a constraint was missed.",
    "importances": "How much of what trials reached each parameter explains (PED-ANOVA): rough "
    "where few trials had it.",
    "parallel": "A line for each finished trial, from what it reached to its parameters.",
    "slices": "What trials reached against each parameter that was varied.",
    "race": "What each move of the race reached.",
    "pareto": "Finished trials by both values; the front is what nothing beats in both.",
}


def write(folder: Path) -> Path:
    """Write ``tuning.html`` of the ``tuning.md``, the PNGs and the trials of a study's folder."""
    text = (folder / MARKDOWN).read_text(encoding="utf-8")
    page = to_html(text, sorted(folder.glob("*.png")), trials.read(folder))
    with atomic_file(folder / PAGE) as path:
        path.write_text(page, encoding="utf-8")
    return folder / PAGE


def to_html(markdown: str, pictures: Sequence[Path], studies: Sequence[trials.Trials]) -> str:
    """The page.

    Args:
        markdown: the report; its first heading names the page.
        pictures: PNGs, embedded.
        studies: with all trials, a table for each.
    """
    first, _, rest = markdown.lstrip().partition("\n")
    environment = pages.environment()
    environment.filters.update(text=_text, columns=_columns)
    return environment.get_template("tuning/reports/page.html.jinja").render(
        title=first.lstrip("# "),
        report=Markup(_renderer().render(rest)),
        pictures=[(p.stem, CAPTIONS.get(p.stem, p.stem), _embedded(p)) for p in pictures],
        studies=studies,
    )


def _columns(found: Sequence[trials.Trial]) -> list[str]:
    """All parameters that trials had."""
    return sorted({name for trial in found for name in trial.params})


def _renderer() -> MarkdownIt:
    """HTML in the text stays text; commands can be copied, tables scroll."""
    made = MarkdownIt("js-default", {"html": False, "linkify": False})
    made.add_render_rule("fence", _command)
    made.add_render_rule("table_open", lambda *_: f'<div class="scroll" {REGION}>\n<table>\n')
    made.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    return made


REGION = 'tabindex="0" role="region" aria-label="Table"'


def _command(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any
) -> str:
    return str(Markup('<div class="command"><pre>{}</pre></div>\n').format(tokens[index].content))


def _embedded(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _text(value: Any) -> Markup:
    """A parameter's or a result's value, short."""
    if isinstance(value, float):
        return escape(f"{value:.4g}")
    return escape(value if isinstance(value, str) else json.dumps(value))
