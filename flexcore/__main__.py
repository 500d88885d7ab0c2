"""Where the `flexcore` command begins: Ctrl-C ends it quietly, even while it is still importing."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    try:
        from flexcore.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
