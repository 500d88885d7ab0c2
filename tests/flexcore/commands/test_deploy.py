"""`flexcore workflow deploy`: checks first, then the push, then what really landed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.wmlocal.engine.conftest import Command, Writer

ROOT = Path(__file__).parents[3]
GOOD: dict[str, str] = yaml.safe_load((ROOT / "tests/wmlocal/lint/good_bundle.yaml").read_text())
CHANGES = [{"type": "added", "path": "f/x/a.py"}, {"type": "edited", "path": "f/x/b.py"}]


@pytest.fixture(autouse=True)
def bundle(write: Writer) -> None:
    """One in which `flexcore check` finds nothing."""
    for path, text in GOOD.items():
        write.file(path, text)


@pytest.fixture
def cli(write: Writer) -> Callable[..., Path]:
    """Puts the fake CLI where the bundle's own CLI is looked for."""
    folder = write.root / "node_modules/.bin"
    folder.mkdir(parents=True)
    script = folder / "wmill"
    script.write_text((Path(__file__).parent / "fake_wmill.py").read_text())
    script.chmod(0o755)

    def prepare(behaviour: str = "good", landed: tuple[str, ...] = ()) -> Path:
        (folder / "behaviour").write_text(behaviour)
        (folder / "wanted.json").write_text(json.dumps(CHANGES))
        (folder / "landed.json").write_text(json.dumps(landed))
        return folder

    return prepare


def calls(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]


def test_a_push_shows_its_changes_and_a_second_one_has_nothing_to_do(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    folder = cli()
    done = flexcore("workflow", "deploy", "--server", server, "--yes")
    assert done.returncode == 0 and "added   f/x/a.py" in done.stdout and "All 2 changes" in done.stderr
    again = flexcore("workflow", "deploy", "--server", server, "--yes", "--json")
    assert json.loads(again.stdout) == {"success": True, "changes": [], "landed": []}
    assert [call["arguments"][0] for call in calls(folder)] == ["lint", "sync", "sync", "sync", "lint", "sync"]


def test_a_first_push_is_summed_up_and_every_file_is_shown_on_demand(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    folder = cli()
    many = [{"type": "added", "path": f"f/x/s{number}.py"} for number in range(60)]
    gone = {"type": "deleted", "path": "f/x/gone.schedule.yaml"}
    (folder / "wanted.json").write_text(json.dumps([*many, gone]))
    done = flexcore("workflow", "deploy", "--server", server, "--dry-run")
    assert done.returncode == 0 and "f/x/s1.py" not in done.stdout
    assert "added    script    60" in done.stdout and "f/x/gone.schedule.yaml" in done.stdout
    assert "61 files in all" in done.stderr
    done = flexcore("workflow", "deploy", "--server", server, "--dry-run", "--verbose")
    assert all(item["path"] in done.stdout for item in many)


def test_the_token_is_in_no_argument_and_no_environment_but_in_a_private_profile(
    flexcore: Command, server: str, cli: Callable[..., Path], home: Path
) -> None:
    folder = cli()
    flexcore("workflow", "deploy", "--server", server, "--dry-run")
    token, profile = (home / "token").read_text(), json.loads((folder / "profile.json").read_text())
    assert (profile["token"], profile["remote"], profile["mode"]) == (token, f"{server}/", "0o100600")
    for call in calls(folder):
        assert token not in " ".join(call["arguments"]) and "FLEXCORE_TOKEN" not in call["environment"]
    sync = calls(folder)[-1]["arguments"]
    assert not Path(sync[sync.index("--config-dir") + 1]).exists()


@pytest.mark.parametrize(("behaviour", "reason"), [("half", "no such script"), ("crash", "connection reset by peer")])
def test_a_push_that_fails_half_way_says_what_landed_and_goes_on_the_next_time(
    flexcore: Command, server: str, cli: Callable[..., Path], behaviour: str, reason: str
) -> None:
    folder = cli(behaviour)
    done = flexcore("workflow", "deploy", "--server", server, "--yes")
    assert done.returncode == 1
    assert "1 of 2 changes landed" in done.stderr and "edited f/x/b.py" in done.stderr and reason in done.stderr
    assert "deploy again" in done.stderr
    (folder / "behaviour").write_text("good")
    resumed = flexcore("workflow", "deploy", "--server", server, "--yes", "--json")
    assert json.loads(resumed.stdout)["landed"] == [{"path": "f/x/b.py", "type": "edited"}]


def test_what_a_second_push_would_send_again_is_told_although_it_landed(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    cli("denormal")
    done = flexcore("workflow", "deploy", "--server", server, "--yes")
    assert done.returncode == 0 and "a second push would still change:\n  added f/x/a.py" in done.stderr
    shown = json.loads(flexcore("workflow", "deploy", "--server", server, "--yes", "--json").stdout)
    assert shown["success"] and shown["missing"] == [] and shown["again"] == shown["landed"]


def test_a_bundle_that_does_not_pass_the_checks_is_not_pushed(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    folder = cli()
    (folder / "lint_fails").touch()
    done = flexcore("workflow", "deploy", "--server", server, "--yes")
    assert done.returncode == 2 and "must be a cron expression" in done.stderr
    assert [call["arguments"][0] for call in calls(folder)] == ["lint"]


def test_a_bundle_in_which_flexcore_check_finds_something_is_not_even_linted(
    flexcore: Command, server: str, cli: Callable[..., Path], write: Writer
) -> None:
    folder = cli()
    flow = "f/shop/order__flow/flow.yaml"
    write.file(flow, GOOD[flow].replace("f/shop/add", "f/shop/ad"))
    done = flexcore("workflow", "deploy", "--server", server, "--yes")
    assert done.returncode == 2 and f"{flow}:" in done.stdout and "Nothing was pushed" in done.stderr
    shown = json.loads(flexcore("workflow", "deploy", "--server", server, "--yes", "--json").stdout)
    assert shown["success"] is False and shown["findings"][0]["file"] == flow
    assert not (folder / "calls.jsonl").exists()


def test_without_anybody_to_ask_nothing_is_pushed(flexcore: Command, server: str, cli: Callable[..., Path]) -> None:
    folder = cli()
    done = flexcore("workflow", "deploy", "--server", server)
    assert done.returncode == 2 and "--yes" in done.stderr and "--yes" not in calls(folder)[-1]["arguments"]


def test_the_embedded_engine_has_nothing_to_deploy_to(flexcore: Command) -> None:
    done = flexcore("workflow", "deploy", "--server", "embedded")
    assert done.returncode == 2 and "nothing to deploy" in done.stderr
