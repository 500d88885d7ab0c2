"""Where the `flexcore` command begins: Ctrl-C ends it quietly, even while it is still importing."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows what it cannot show as an escape.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        from flexcore.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
