"""What people read, and what is computed for them, as it was agreed: a change of it has to change snapshots/, too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

SNAPSHOTS = Path(__file__).parent / "snapshots"
# Of computed numbers: other versions and processors round otherwise.
RELATIVE, ABSOLUTE = 1e-5, 1e-7


def check_agreed(name: str, found: Any) -> None:
    """Set FLEXCORE_UPDATE_SNAPSHOTS=1 to agree to a change, and read it in the diff."""
    snapshot = SNAPSHOTS / name
    if os.environ.get("FLEXCORE_UPDATE_SNAPSHOTS"):
        snapshot.write_text(json.dumps(_round(found), indent=1, ensure_ascii=False) + "\n")
    agreed = _list_leaves(json.loads(snapshot.read_text()))
    for (place, value), (agreed_place, wanted) in zip(_list_leaves(found), agreed, strict=True):
        assert place == agreed_place
        is_computed = isinstance(value, float) and isinstance(wanted, int | float)
        assert value == (pytest.approx(wanted, rel=RELATIVE, abs=ABSOLUTE) if is_computed else wanted), place


def _list_leaves(value: Any, place: str = "") -> list[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if items is None:
        return [(place, value)]
    found = [leaf for name, item in items for leaf in _list_leaves(item, f"{place}/{name}")]
    return [(place, len(value)), *found]


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.8g}")
    if isinstance(value, dict):
        return {name: _round(item) for name, item in value.items()}
    return [_round(item) for item in value] if isinstance(value, list | tuple) else value
