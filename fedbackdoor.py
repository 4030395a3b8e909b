"""The program ``fedbackdoor``, which first makes sure that ``benchmark`` is ours."""

import sys
from importlib.util import find_spec
from pathlib import Path

_found = find_spec("benchmark")
_origin = Path(_found.origin if _found and _found.origin else "benchmark").resolve()
if _origin.parent.parent != Path(__file__).resolve().parent:
    sys.stderr.write(
        f"fedbackdoor: error: {_origin} hides FedBackdoor's own package of that name; take its "
        "folder off PYTHONPATH, and in that folder say fedbackdoor, not python -m\n"
    )
    sys.exit(2)

from benchmark.__main__ import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
