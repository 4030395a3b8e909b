"""``python -m benchmark``."""

import signal
import sys


def main() -> int:
    """The exit status of a command. However early Ctrl-C comes, it ends in one line."""
    try:
        from benchmark.cli.parser import main

        status = main()
    except KeyboardInterrupt:
        print("fedbackdoor: interrupted; the same command goes on from here", file=sys.stderr)
        status = 130
    if status == 130:
        # Another one while the interpreter ends would have it say where it was.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    return status


if __name__ == "__main__":
    sys.exit(main())
