"""The first command of the README: what keeps it from starting is one plain sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from flexcore.console import run_guarded
from flexcore.ray_head import RayHeadError
from tests.wmlocal.engine.conftest import Command


def test_a_home_that_is_no_folder_is_named(flexcore: Command, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("FLEXCORE_HOME", str(home / "file"))
    done = flexcore("demo", "--rows", "1000")
    assert done.returncode == 2 and done.stderr.startswith("flexcore: ") and "Not a directory" in done.stderr


def test_a_ray_head_that_does_not_start_is_told_and_may_be_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise RayHeadError("The Ray head did not start; see its log /x/head.log, and try again:\nlast lines")

    with pytest.raises(typer.Exit) as ended:
        run_guarded(fail)
    assert ended.value.exit_code == 3 and capsys.readouterr().err.startswith("flexcore: The Ray head did not start")
