"""meltano/validate: everything that is wrong with a request is told before anything runs."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.contracts import StepResult
from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput, MissingSetting, NotFound, Unreachable
from f.flexcore.lib.meltano import (
    installation,
)
from f.flexcore.meltano.validate import main
from tests.meltano.conftest import PROJECT, contents


def test_a_good_request_installs_no_plugin_changes_nothing_and_is_known_the_second_time(
    project: dict[str, Any], folder: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "meltano/plugins").unlink()
    before = contents(folder)
    result = StepResult.model_validate(main(project, ["tap-toy", "tap-other"], "target-jsonl"))
    assert result.success and result.runtime == "meltano"
    assert result.data["environment"] == "dev" and result.data["hands_on_files"] is True
    assert result.data["state_reachable"] is True
    assert contents(folder) == before
    assert not (home / "meltano/plugins").exists()
    # Meltano is started for a content that it does not know yet, and only then.
    monkeypatch.setattr(installation, "meltano_python", lambda: pytest.fail("Meltano was started"))
    started = time.monotonic()
    assert main(project, ["tap-toy", "tap-other"], "target-jsonl")["data"] == result.data
    assert time.monotonic() - started < 1.0


def test_the_environment_of_the_step_wins_over_the_resources(project: dict[str, Any]) -> None:
    assert main({**project, "environment": "prod"}, ["tap-toy"])["data"]["environment"] == "prod"
    assert main({**project, "environment": "prod"}, ["tap-toy"], environment="dev")["data"]["environment"] == "dev"


def test_a_target_that_writes_no_files_hands_on_none_in_the_plan(project: dict[str, Any]) -> None:
    result = main({**project, "env": {"TARGET_TOY_FILE": "/x"}}, ["tap-toy"], "target-toy")
    assert result["data"]["hands_on_files"] is False


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"taps": ["tap-toi"]},
            NotFound,
            r"no tap named 'tap-toi'. Did you mean tap-toy\? Declared: tap-toy, tap-other",
        ),
        ({"taps": []}, InvalidInput, r"taps is empty: give at least one"),
        ({"taps": [" "]}, InvalidInput, r"taps is empty: give at least one"),
        ({"taps": ["tap-toy", "tap-toy"]}, InvalidInput, r"taps holds tap-toy twice"),
        ({"taps": "tap-toy"}, InvalidInput, r"taps: Input should be a valid list"),
        ({"taps": None}, InvalidInput, r"taps is missing: fill it in"),
        ({"taps": True}, InvalidInput, r"taps: Input should be a valid list"),
        ({"target": " "}, InvalidInput, r"target: is blank; give a target of the project"),
        ({"target": "target-snow"}, NotFound, r"no target named 'target-snow'.*Declared: target-jsonl, target-toy"),
        ({"mappings": ["hide"]}, NotFound, r"no mapping named 'hide'. Declared: hide-names, crash"),
        ({"target": "target-toy"}, MissingSetting, r"target-toy: setting file is required.*Set TARGET_TOY_FILE"),
        ({"environment": "staging"}, NotFound, r"no environment named 'staging'. Declared: dev, prod"),
        ({"config": ["tap-toy.rowz=1"]}, NotFound, r"no setting 'rowz'. Did you mean rows\?"),
        ({"config": ["tap-toy.secret=hunter2"]}, InvalidInput, r"tap-toy.secret is a secret.*TAP_TOY_SECRET"),
        ({"config": "tap-toy.rows=1"}, InvalidInput, r"config: Input should be a valid list"),
        ({"config": ["rows"]}, InvalidInput, r"config\[0\] is not PLUGIN.SETTING=VALUE"),
        ({"project": {"path": "/nowhere"}}, NotFound, r"There is no folder /nowhere"),
        ({"project": {}}, InvalidInput, r"give exactly one of path, git_url and meltano_yml \(given: none\)"),
        ({"project": {"path": "/a", "git_url": "b"}}, InvalidInput, r"\(given: path, git_url\)"),
        ({"project": "tap"}, InvalidInput, r"project: "),
        ({"project": {"meltano_yml": "plugins: ["}}, InvalidInput, r"meltano_yml cannot be parsed"),
        ({"settings": {"storage_uri": "ftp://x"}}, InvalidInput, r"settings.storage_uri"),
    ],
)
def test_a_wrong_request_names_the_field_and_what_to_do(
    project: dict[str, Any], change: dict[str, Any], error: type[FlexcoreError], message: str
) -> None:
    request: dict[str, Any] = {"project": project, "taps": ["tap-toy"], "target": "target-jsonl", **change}
    with pytest.raises(error, match=message) as caught:
        main(**request)
    assert caught.value.subject and caught.value.remedy
    assert "hunter2" not in str(caught.value)
    json.dumps(caught.value.__dict__)


@pytest.mark.usefixtures("home")
def test_a_setting_may_come_from_the_resource_the_env_file_or_the_request(tmp_path: Path, folder: Path) -> None:
    project = {"path": str(folder)}
    main({**project, "env": {"TARGET_TOY_FILE": "/x"}}, ["tap-toy"], "target-toy")
    main(project, ["tap-toy"], "target-toy", config=["target-toy.file=/x"])
    (folder / ".env").write_text("# comment\nexport TARGET_TOY_FILE='/x'\n")
    main(project, ["tap-toy"], "target-toy")


def test_a_file_target_that_cannot_be_pointed_at_a_folder_is_refused(folder: Path) -> None:
    text = PROJECT.replace("    - {name: destination_path, value: output}\n", "")
    (folder / "meltano.yml").write_text(text)
    with pytest.raises(InvalidInput, match=r"target-jsonl declares no setting for its output folder.*destination_path"):
        main({"path": str(folder)}, ["tap-toy"])


def test_a_state_backend_that_does_not_answer_is_unreachable(project: dict[str, Any], folder: Path) -> None:
    (folder / "meltano.yml").write_text(PROJECT + "\ndatabase_uri: postgresql://u:$PG_PASSWORD@127.0.0.1:9/m\n")
    with pytest.raises(Unreachable, match=r"postgresql://127.0.0.1:9/m cannot be used") as caught:
        main({**project, "env": {"PG_PASSWORD": "hunter2-hunter2"}}, ["tap-toy"])
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_project_that_may_not_be_read_says_so(project: dict[str, Any], folder: Path) -> None:
    (folder / "meltano.yml").chmod(0)
    with pytest.raises(InvalidInput, match=r"cannot be read: Permission denied"):
        main(project, ["tap-toy"])
