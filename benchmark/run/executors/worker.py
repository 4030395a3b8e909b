"""What a worker does with a cell, wherever it is."""

import traceback
from collections.abc import Callable
from pathlib import Path

from benchmark.run.cell import Cell
from benchmark.run.events import Event, Failed, Finished, Round, Stopped
from benchmark.utils.errors import FullError, UserError


def work(
    cell: Cell, folder: Path, tell: Callable[[Event], None], given_up: Callable[[], str | None]
) -> Event:
    """Run a cell on one torch thread; what it came to.

    Args:
        cell: what to run.
        folder: results, as :func:`benchmark.run.runner.run` has it.
        tell: told of every round.
        given_up: asked after every round why to give the cell up; None to go on.

    Raises:
        BrokenPipeError, ConnectionResetError: of ``tell``, as whom it told is gone.
    """
    # Imported late: Lightning takes seconds, and who starts workers needs none of it.
    import torch

    from benchmark.run.recorder import recorded
    from benchmark.run.runner import StoppedError, run

    torch.set_num_threads(1)
    told = False

    def on_round(round: int, metrics: dict[str, float]) -> None:
        nonlocal told
        goes_on = not told and round > 0
        told = True
        tell(Round(cell, round, metrics, recorded(cell.work_path(folder)) if goes_on else {}))
        if (reason := given_up()) is not None:
            raise StoppedError(reason)

    try:
        return Finished(cell, run(cell, folder, on_round))
    except StoppedError as stop:
        return Stopped(cell, str(stop))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except FullError as error:
        return Failed(cell, str(error), "", is_fatal=True)
    except UserError as error:
        return Failed(cell, str(error), "")
    except Exception as error:
        reason = str(error).partition("\n")[0]
        return Failed(cell, f"{type(error).__name__}: {reason}", traceback.format_exc())
