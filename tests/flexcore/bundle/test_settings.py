"""wmill.yaml: the smallest edit that lets a push take the bundle, and that edit taken back."""

from __future__ import annotations

import pytest
import yaml

from f.flexcore.lib.core.errors import InvalidInput
from flexcore.bundle.lock_entries import merge_lock_entries, remove_lock_entries
from flexcore.bundle.settings import PLAIN, plan_settings, undo_settings
from tests.flexcore.configuration.conftest import ROOT

GOOD = "nonDottedPaths: true\ndedupeLockfiles: true\nsyncBehavior: v1\nincludeSchedules: true\nincludeTriggers: true\n"
COMMENTED = '# ours\nincludes: # all\n  # the team\n  - "f/sales/**"  # first\n  # last\n\nexcludes: []\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (GOOD, GOOD),
        (PLAIN, PLAIN),
        ("includes: [f/**]\n" + GOOD, "includes: [f/**]\n" + GOOD),
        (f"includes:\n  - f/sales/**\n{GOOD}", f"includes:\n  - f/sales/**\n  - f/flexcore/**\n{GOOD}"),
        (f"includes: [f/a/**]\n{GOOD}", f"includes: [f/a/**, f/flexcore/**]\n{GOOD}"),
        (
            COMMENTED + GOOD,
            COMMENTED.replace("# first\n", "# first\n  - f/flexcore/**\n") + GOOD,
        ),
        (
            GOOD.replace("nonDottedPaths: true", "nonDottedPaths: false # as ever"),
            GOOD.replace("nonDottedPaths: true", "nonDottedPaths: true # as ever"),
        ),
        (GOOD.replace("syncBehavior: v1\n", ""), GOOD.replace("syncBehavior: v1\n", "") + "syncBehavior: v1\n"),
        (GOOD.replace("v1", "v0"), GOOD),
        (GOOD.replace("includeTriggers: true", "includeTriggers: false"), None),
        ("defaultTs: bun", "defaultTs: bun\n" + GOOD),
    ],
)
def test_only_what_must_change_is_changed_and_can_be_taken_back(before: str, after: str | None) -> None:
    plan = plan_settings(before, [])
    assert plan.text == (before if after is None else after)
    restored, kept = undo_settings(plan.text, plan.changes, [])
    assert (restored.rstrip("\n"), kept) == (before.rstrip("\n"), [])
    assert plan_settings(plan.text, []).changes == ()


def test_a_repository_without_settings_gets_those_that_the_bundle_is_written_for() -> None:
    config = yaml.safe_load(plan_settings(None, []).text)
    ours = yaml.safe_load((ROOT / "wmill.yaml").read_text())
    assert config == {key: ours[key] for key in config} | {"includes": ["f/**"]}


@pytest.mark.parametrize(
    ("text", "own", "words"),
    [
        ("syncBehavior: v2\n" + GOOD.replace("syncBehavior: v1\n", ""), [], "syncBehavior is v2"),
        ("skipResourceTypes: true\n", [], "skipResourceTypes is true.*wmill sync pull"),
        ("skipWorkspaceDependencies: true\n", [], "skipWorkspaceDependencies is true"),
        ("defaultTs: bun\n", ["f/sales/nightly.flow/flow.yaml"], r"f/sales/nightly\.flow; .*named NAME__flow"),
        ("nonDottedPaths: false\n", ["f/a/ui.raw_app/app.yaml"], "nonDottedPaths is not true"),
        ("excludes: [f/flexcore/**]\n", [], "excludes or extraIncludes leave f/flexcore out"),
        ("extraIncludes: [f/sales/**]\n", [], "excludes or extraIncludes"),
        ("includes: [f/sales/**,\n  f/hr/**]\n", [], "cannot be edited.*`includes: f/flexcore/\\*\\*`"),
        ("{defaultTs: bun}\n", [], "cannot be edited"),
        ("a: [\n", [], "not valid YAML"),
        ("- a\n", [], "must hold a mapping"),
    ],
)
def test_what_cannot_be_changed_safely_is_refused_with_what_to_do(text: str, own: list[str], words: str) -> None:
    with pytest.raises(InvalidInput, match=f"(?s){words}"):
        plan_settings(text, own)


def test_a_switch_that_lets_a_push_delete_or_pass_over_something_is_said() -> None:
    notes = plan_settings("includeTriggers: false\n", []).notes
    assert [note for note in notes if "deletes schedules that only the workspace has" in note]
    assert [note for note in notes if note.startswith("includeTriggers is false")]
    overrides = GOOD + "workspaces: {dev: {overrides: {includes: [f/sales/**]}}}\n"
    assert "no push brings the bundle there" in plan_settings(overrides, []).notes[0]


@pytest.mark.parametrize(
    ("own", "kept"),
    [
        (["f/sales/nightly__flow/flow.yaml"], ["nonDottedPaths"]),
        (["locks/sales.requirements.in.lock"], ["dedupeLockfiles"]),
        (["f/sales/nightly.schedule.yaml"], ["syncBehavior", "includeSchedules"]),
        (["f/sales/api.http_trigger.yaml"], ["syncBehavior", "includeTriggers"]),
        (["f/flexcore/own__flow/flow.yaml"], ["includes", "nonDottedPaths"]),
    ],
)
def test_settings_that_the_teams_own_files_rely_on_are_not_taken_back(own: list[str], kept: list[str]) -> None:
    plan = plan_settings("includes:\n  - f/sales/**\n", [])
    text, left = undo_settings(plan.text, plan.changes, own)
    assert [item.key for item in left] == kept
    assert set(yaml.safe_load(text)) == {"includes", *kept}


def test_lock_entries_are_merged_in_the_order_of_the_wmill_cli() -> None:
    text = (ROOT / "wmill-lock.yaml").read_text()
    ours = yaml.safe_load(text)["locks"]
    assert merge_lock_entries(None, ours) == text
    team = "version: v2\nlocks:\n  f/a/x: '1'\n  f/flexcore/gone: '2'\n  f/sales/y: '3'\n"
    merged = yaml.safe_load(merge_lock_entries(team, {"f/flexcore/ray/train": "4"}))["locks"]
    assert list(merged.items()) == [("f/a/x", "1"), ("f/flexcore/ray/train", "4"), ("f/sales/y", "3")]
    assert list(yaml.safe_load(remove_lock_entries(team))["locks"]) == ["f/a/x", "f/sales/y"]
    assert remove_lock_entries("version: v2\nlocks:\n  f/flexcore/x: '1'\n") == ""


def test_lock_entries_of_files_that_the_team_has_changed_stay() -> None:
    team = "version: v2\nlocks:\n  f/flexcore/a: '1'\n  f/flexcore/b__flow+__flow_hash: '2'\n  f/flexcore/c: '3'\n"
    offered = {"f/flexcore/a": "9", "f/flexcore/b__flow+__flow_hash": "9", "f/flexcore/c": "9"}
    spared = ["f/flexcore/a.py", "f/flexcore/b__flow/flow.yaml"]
    merged = yaml.safe_load(merge_lock_entries(team, offered, spared))["locks"]
    assert merged == {"f/flexcore/a": "1", "f/flexcore/b__flow+__flow_hash": "2", "f/flexcore/c": "9"}


@pytest.mark.parametrize("text", ["locks: {}\n", "version: v3\nlocks: {}\n", "a: [\n", "- a\n", "version: v2\n"])
def test_a_lock_file_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"version v2.*rehash"):
        merge_lock_entries(text, {})
