"""Which blocks of a document a medium shows."""

from collections.abc import Iterator, Sequence

from benchmark.report.document import Block, Details, Medium, Only, Panels, Picture


def visible(blocks: Sequence[Block], medium: Medium) -> Iterator[Block]:
    """What a medium shows."""
    for block in blocks:
        if not isinstance(block, Only):
            yield block
        elif block.medium == medium:
            yield from visible(block.blocks, medium)


def pictures(blocks: Sequence[Block], medium: Medium) -> Iterator[Picture]:
    """All that a medium shows."""
    for block in visible(blocks, medium):
        match block:
            case Picture():
                yield block
            case Panels(found):
                yield from found
            case Details(blocks=inner):
                yield from pictures(inner, medium)
