"""The files that a report is written to."""

from functools import cache
from pathlib import Path

from benchmark.report import theme
from benchmark.report.document import Document
from benchmark.report.html import to_html
from benchmark.report.markdown import to_markdown
from benchmark.report.media import pictures
from benchmark.report.theme import Draw
from benchmark.utils.files import atomic_file


def write(
    document: Document, folder: Path, name: str, draw: Draw, picture_folder: str = ""
) -> list[Path]:
    """Write a report: Markdown with a PNG for each of its pictures, and a page that holds all.

    The same document gives the same bytes. Each file is whole or not there.

    Args:
        document: what is written.
        folder: made if it does not exist.
        name: of the files, without ``.md`` and ``.html``.
        draw: makes a picture; called once for each.
        picture_folder: of the PNGs, in ``folder``.

    Returns:
        What was written.
    """
    drawn = cache(draw)
    texts = {
        f"{name}.md": to_markdown(document, picture_folder),
        f"{name}.html": to_html(document, drawn),
    }
    paths = []
    for picture in pictures(document.blocks, "text"):
        paths.append(folder / picture_folder / f"{picture.name}.png")
        with theme.style(), atomic_file(paths[-1]) as path:
            shown = drawn(picture.name)
            if isinstance(shown, bytes):
                path.write_bytes(shown)
            else:
                theme.png(shown, path)
    for file, text in texts.items():
        paths.append(folder / file)
        with atomic_file(paths[-1]) as path:
            path.write_text(text, encoding="utf-8")
    return paths
