"""What people read, as it was agreed: a file of snapshots/ that a change of it has to change, too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

SNAPSHOTS = Path(__file__).parent / "snapshots"


def check_agreed(name: str, found: Any) -> None:
    """Set FLEXCORE_UPDATE_SNAPSHOTS=1 to agree to a change, and read it in the diff."""
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    snapshot = SNAPSHOTS / name
    if os.environ.get("FLEXCORE_UPDATE_SNAPSHOTS"):
        snapshot.write_text(text)
    assert found == json.loads(snapshot.read_text())
