"""`flexcore workflow deploy`: checks first, then the push, then what really landed."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from f.flexcore.lib.core.errors import Forbidden
from flexcore.bundle.deployment import Change, Deployment
from flexcore.bundle.stale import Stale
from flexcore.client import relocks
from flexcore.client.target import Target
from flexcore.client.windmill import Windmill
from flexcore.commands.deploy import describe_relocks
from flexcore.commands.drift import find_differences
from tests.wmlocal.engine.conftest import Command, Writer

ROOT = Path(__file__).parents[3]
GOOD: dict[str, str] = yaml.safe_load((ROOT / "tests/wmlocal/lint/good_bundle.yaml").read_text())
CHANGES = [{"type": "added", "path": "f/x/a.py"}, {"type": "edited", "path": "f/x/b.py"}]


@pytest.fixture(autouse=True)
def bundle(write: Writer) -> None:
    """One in which `flexcore check` finds nothing."""
    for path, text in GOOD.items():
        write.file(path, text)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The served engine starts no dependency jobs; waiting for them is tested in test_relocks.py."""
    monkeypatch.setattr(relocks, "QUIET_S", 0.0)


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
    assert json.loads(again.stdout) == {"success": True, "changes": [], "landed": [], "stale": [], "removed": []}
    assert [call["arguments"][0] for call in calls(folder)] == ["lint", "sync", "sync", "sync", "lint", "sync"]


def test_a_bundle_that_is_half_of_one_version_is_not_pushed(
    flexcore: Command, server: str, cli: Callable[..., Path], write: Writer
) -> None:
    folder = cli()
    write.file(".flexcore/change/steps.json", "{}")
    done = flexcore("workflow", "deploy", "--server", server, "--yes")
    assert done.returncode == 2 and "cut short" in done.stderr and "flexcore upgrade" in done.stderr
    assert not (folder / "calls.jsonl").exists()


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


def test_a_check_tells_the_drift_and_changes_nothing(flexcore: Command, server: str, cli: Callable[..., Path]) -> None:
    folder = cli()
    name = next(path for path in GOOD if path.endswith(".py"))
    edited = {"type": "edited", "path": name}
    (folder / "wanted.json").write_text(json.dumps([*CHANGES[:1], edited]))
    (folder / "lint_fails").touch()
    done = flexcore("workflow", "deploy", "--check", "--server", server, "--json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert not found["success"]
    assert [(item["path"], item["difference"]) for item in found["differences"]] == sorted(
        [("f/x/a.py", "only in the files"), (name, "differs")]
    )
    assert [call["arguments"][0] for call in calls(folder)] == ["sync"] and "--dry-run" in calls(folder)[0]["arguments"]


def test_a_check_tells_what_only_the_server_has_in_the_folders_of_the_files_and_deletes_nothing(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    folder = cli(landed=tuple(item["path"] for item in CHANGES))
    others = ["c_sales.resource-type.yaml", "dependencies/sales.requirements.in", "f/x/settings.resource.yaml"]
    only_there = ["f/x/new.py", "f/x/new.script.yaml", "f/x/way__flow/flow.yaml", "f/x/way__flow/a.py", *others]
    (folder / "only_there.json").write_text(json.dumps(only_there))
    done = flexcore("workflow", "deploy", "--check", "--server", server, "--json")
    assert done.returncode == 1, done.stderr
    found = [(item["kind"], item["path"], item["difference"]) for item in json.loads(done.stdout)["differences"]]
    assert found == [("script", "f/x/new", "only on the server"), ("flow", "f/x/way", "only on the server")]
    (call,) = calls(folder)
    assert "--dry-run" in call["arguments"] and "--yes" not in call["arguments"]


def test_a_deployment_lists_and_takes_away_nothing_that_only_the_server_has(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    folder = cli()
    (folder / "only_there.json").write_text('["f/x/new.py"]')
    done = flexcore("workflow", "deploy", "--server", server, "--yes", "--json")
    assert done.returncode == 0 and "f/x/new" not in done.stdout + done.stderr
    syncs = [call["arguments"] for call in calls(folder) if call["arguments"][0] == "sync"]
    assert len(syncs) == 3 and all("--keep-deleted" in arguments for arguments in syncs)


def test_a_file_that_only_the_servers_version_of_a_flow_has_is_named_itself() -> None:
    flow = "f/x/y__flow"
    changes = [Change(f"{flow}/flow.yaml", "edited"), Change(f"{flow}/old.py", "deleted")]
    found = find_differences(cast("Windmill", Answering()), [*changes, Change("f/z/folder.meta.yaml", "deleted")], [])
    assert [(item.path, item.difference) for item in found] == [
        (f"{flow}/flow.yaml", "differs"),
        (f"{flow}/old.py", "only on the server"),
        ("f/z/folder.meta.yaml", "only on the server"),
    ]


def test_a_check_of_a_workspace_that_has_what_the_files_say_ends_well(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    cli(landed=tuple(item["path"] for item in CHANGES))
    done = flexcore("workflow", "deploy", "--check", "--server", server)
    assert done.returncode == 0 and "No drift" in done.stderr and not done.stdout.strip()


class Answering:
    """Who wrote each item last, by the path that is asked."""

    def get(self, path: str, **query: Any) -> Any:
        known = {
            "scripts/get/p/f/x/b": {"created_by": "ann", "created_at": "2026-11-28T23:12:09Z"},
            "flows/get/f/x/y": {"edited_by": "bob", "edited_at": "2026-11-27T08:00:00Z"},
        }
        if path not in known:
            raise Forbidden("no", subject=path, remedy="-")
        return known[path]


def test_a_difference_names_who_wrote_on_the_server_last_as_far_as_it_says() -> None:
    changes = [
        Change("f/x/a.py", "added"),
        Change("f/x/b.script.yaml", "edited"),
        Change("f/x/y__flow/flow.yaml", "edited"),
        Change("f/x/z.py", "edited"),
        Change("c_x.resource-type.yaml", "edited"),
    ]
    found = find_differences(cast("Windmill", Answering()), changes, [Stale("script", "f/flexcore/old")])
    assert [(item.path, item.difference, item.changed_by) for item in found] == [
        ("c_x.resource-type.yaml", "differs", None),
        ("f/flexcore/old", "only on the server", None),
        ("f/x/a.py", "only in the files", None),
        ("f/x/b.script.yaml", "differs", "ann"),
        ("f/x/y__flow/flow.yaml", "differs", "bob"),
        ("f/x/z.py", "differs", None),
    ]


APP = "f/x/page__raw_app/raw_app.yaml"
VIEWER = {"summary": "A page", "policy": {"execution_mode": "viewer", "on_behalf_of": "u/ann"}, "versions": [1]}


@pytest.mark.parametrize(
    ("held", "is_change"),
    [
        (VIEWER, False),
        (VIEWER | {"policy": {"execution_mode": "publisher"}}, True),
        (VIEWER | {"summary": "Another"}, True),
        (None, True),
    ],
    ids=["as stated", "acts for its publisher", "another summary", "unreadable"],
)
def test_a_raw_app_that_states_its_policy_is_no_change_once_the_server_has_it_so(
    write: Writer, cli: Callable[..., Path], held: dict[str, Any] | None, is_change: bool
) -> None:
    class Holding:
        def get(self, path: str, **query: Any) -> Any:
            assert path == "apps/get/p/f/x/page"
            if held is None:
                raise Forbidden("no", subject=path, remedy="-")
            return held

    write.file(APP, "summary: A page\npolicy:\n  execution_mode: viewer\n")
    change = {"type": "edited", "path": APP}
    (cli() / "wanted.json").write_text(json.dumps([change]))
    target = Target("http://127.0.0.1:1", "w", "t")
    found = Deployment(write.root, target, cast("Windmill", Holding())).changes()
    assert found == ([Change(APP, "edited")] if is_change else [])


@pytest.mark.parametrize(
    ("excludes", "option"),
    [
        ([], None),
        (["f/x/**"], None),
        ("f/x/**", None),
        ([APP], "none"),
        (APP, "none"),
        ([APP, "f/x/**", "f/y/*"], "f/x/**,f/y/*"),
    ],
)
def test_a_deployment_looks_at_the_raw_apps_that_a_plain_push_leaves_out(
    write: Writer, cli: Callable[..., Path], excludes: list[str] | str, option: str | None
) -> None:
    folder = cli()
    write.file("wmill.yaml", json.dumps({"excludes": excludes}))
    Deployment(write.root, Target("http://127.0.0.1:1", "w", "t"), cast("Windmill", object())).changes()
    (call,) = calls(folder)
    given = dict(itertools.pairwise(call["arguments"]))
    assert given.get("--excludes") == option


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


def test_before_a_push_it_says_what_it_does_to_runs_and_to_locks(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    folder = cli()
    changed = [{"type": "edited", "path": "dependencies/shop.requirements.in"}]
    (folder / "wanted.json").write_text(json.dumps(changed))
    shown = flexcore("workflow", "deploy", "--server", server, "--yes").stderr
    assert "No flow of the bundle is running" in shown
    assert "locks 1 script anew, one dependency job each" in shown
    assert shown.index("No flow of the bundle") < shown.index("waiting for the dependency jobs")
    assert "The push started 0 dependency jobs." in shown


@pytest.mark.parametrize(
    ("change", "version", "warned"),
    [
        ("edited", (1, 743), True),
        ("edited", (1, 803), True),
        ("edited", None, True),
        ("edited", (1, 804), False),
        ("added", (1, 743), False),
    ],
)
def test_a_push_over_old_modules_says_that_a_server_locks_their_importers_anew(
    write: Writer, change: str, version: tuple[int, int] | None, warned: bool
) -> None:
    pushed = [Change("f/flexcore/meltano/run.py", change)]
    old = [Stale("script", "f/flexcore/core/errors")]
    assert bool([*describe_relocks(write.root, pushed, old, version)]) is warned
    assert not [*describe_relocks(write.root, pushed, [Stale("flow", "f/flexcore/old")], version)]


def test_what_the_server_has_and_the_bundle_lacks_is_listed_with_the_command_that_removes_it(
    flexcore: Command, server: str, cli: Callable[..., Path], write: Writer, tmp_path: Path
) -> None:
    cli(landed=("f/x/a.py", "f/x/b.py"))
    for path in [path for path in GOOD if path.startswith("f/shop/order__flow/")]:
        write.file(path.replace("shop/order", "flexcore/ours"), GOOD[path])
    ours = tmp_path / "ours"
    shutil.copytree(write.root, ours)
    for number in range(5):
        write.flow(f"f/flexcore/old{number}", [])
    arguments = ("workflow", "deploy", "--server", server, "--root", str(ours))
    shown = flexcore(*arguments, "--yes").stderr
    assert "from former versions, and not in the bundle: 5 items" in shown
    assert "5 flows: f/flexcore/old0, f/flexcore/old1, f/flexcore/old2 and 2 more" in shown
    assert f"flexcore workflow deploy --prune --server {server} --workspace local" in shown
    stale = json.loads(flexcore(*arguments, "--yes", "--json").stdout)["stale"]
    assert stale == [{"kind": "flow", "path": f"f/flexcore/old{number}"} for number in range(5)]
    looked_at = flexcore(*arguments, "--prune", "--dry-run")
    assert looked_at.returncode == 0 and "f/flexcore/old4" in looked_at.stderr


def test_without_a_terminal_nothing_is_pruned_and_nothing_is_pushed_before_that_is_known(
    flexcore: Command, server: str, cli: Callable[..., Path]
) -> None:
    folder = cli()
    refused = flexcore("workflow", "deploy", "--server", server, "--prune")
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert not (folder / "calls.jsonl").exists()


def test_without_anybody_to_ask_nothing_is_pushed(flexcore: Command, server: str, cli: Callable[..., Path]) -> None:
    folder = cli()
    done = flexcore("workflow", "deploy", "--server", server)
    assert done.returncode == 2 and "--yes" in done.stderr and "--yes" not in calls(folder)[-1]["arguments"]


def test_the_embedded_engine_has_nothing_to_deploy_to(flexcore: Command) -> None:
    done = flexcore("workflow", "deploy", "--server", "embedded")
    assert done.returncode == 2 and "nothing to deploy" in done.stderr
