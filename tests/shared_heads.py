"""Ray heads that the tests of one xdist group share. Each ends with its group, not with the process: idle, with what it
serves, it would keep a third of a core busy for all the tests that come after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flexcore.ray_head import RayHead

HEADS: dict[str, RayHead] = {}


@contextmanager
def share_head(group: str, folder: Path) -> Iterator[RayHead]:
    from flexcore.ray_head import RayHead

    with RayHead(folder) as running:
        HEADS[group] = running
        yield running


def end_head_of(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Ends the head of the item's group when the next one is of another. Where one process runs all tests, they are in
    no group, and heads live on."""
    for group in list(HEADS):
        if is_in(item, group) and not (nextitem is not None and is_in(nextitem, group)):
            HEADS.pop(group).stop()


def is_in(item: pytest.Item, group: str) -> bool:
    return item.nodeid.endswith(f"@{group}")
