"""Where the `flexcore` command begins: Ctrl-C ends it quietly, even while it is still importing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

INTERRUPTED = 130


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A terminal of another encoding shows what it cannot show as an escape.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # uv comes with this package, and steps call it; where the command was installed alone, its folder is on no PATH.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    try:
        from flexcore.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
