"""Everything that needs no GPU and no peers, then the figure and the README: ``make bench``."""

import subprocess
import sys
import time

SCRIPTS = (
    "engines",
    "color",
    "choosing",
    "rules",
    "attackers",
    "late",
    "cost",
    "overhead",
    "scaling",
    "memory",
    "neighbor",
    "publish",
)


def main() -> None:
    """Each script in a process of its own."""
    start = time.monotonic()
    for name in SCRIPTS:
        subprocess.run([sys.executable, "-m", f"bench.{name}"], check=True)
        print(f"{name}: done after {time.monotonic() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
