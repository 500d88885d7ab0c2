"""What a step is given of the engine's own environment, while the process around the engine changes it."""

from __future__ import annotations

import os
from collections import UserDict
from collections.abc import Iterator

import pytest

from tests.wmlocal.engine.conftest import Writer, raw
from wmlocal.engine import Engine

NAME = "FLEXCORE_TEST_FLAPPING"


class Flapping(UserDict[str, str]):
    """An environment in which another thread drops a name whenever its names have been listed."""

    def __iter__(self) -> Iterator[str]:
        return iter([*self.data, NAME])


def test_a_name_that_is_dropped_while_a_step_starts_fails_no_step(
    engine: Engine, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write.flow("f/x/y", [raw("a", "def main():\n    return 7\n")])
    monkeypatch.setattr(os, "environ", Flapping(dict(os.environ)))
    with pytest.raises(KeyError):
        {name: os.environ[name] for name in os.environ}
    assert engine.run("f/x/y").result == 7
