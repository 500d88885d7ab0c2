"""What is written, deleted and spared: decided from hashes alone."""

from __future__ import annotations

import pytest

from flexcore.bundle.changes import CHANGED, DELETED, LEFT, TAKEN, SparedFile, plan_files, plan_removal
from flexcore.bundle.manifest import digest, is_newer

NEW, OLD, OTHER = b"new\n", b"old\n", b"other\n"
HASH = {text: digest(text) for text in (NEW, OLD, OTHER)}


@pytest.mark.parametrize(
    ("recorded", "disk", "written", "spared"),
    [
        (None, None, True, None),
        (None, NEW, False, None),
        (None, OTHER, False, (TAKEN, True)),
        (OLD, OLD, True, None),
        (OLD, NEW, False, None),
        (OLD, OTHER, False, (CHANGED, True)),
        (OLD, None, False, (DELETED, True)),
        (NEW, OTHER, False, (CHANGED, False)),
        (NEW, None, False, (DELETED, False)),
        (NEW, NEW, False, None),
    ],
)
def test_a_file_of_the_bundle_is_written_unless_the_team_has_its_own(
    recorded: bytes | None, disk: bytes | None, written: bool, spared: tuple[str, bool] | None
) -> None:
    before = {"x": HASH[recorded]} if recorded else {}
    plan = plan_files({"x": NEW}, before, {"x": HASH[disk] if disk else None})
    assert plan.write == (("x",) if written else ()) and plan.delete == ()
    assert plan.spared == ((SparedFile("x", *spared),) if spared else ())
    assert plan.files == {"x": HASH[NEW]}


@pytest.mark.parametrize(
    ("disk", "deleted", "spared"), [(OLD, True, False), (OTHER, False, True), (None, False, False)]
)
def test_what_the_bundle_no_longer_has_goes_unless_it_was_changed(
    disk: bytes | None, deleted: bool, spared: bool
) -> None:
    plan = plan_files({}, {"x": HASH[OLD]}, {"x": HASH[disk] if disk else None})
    assert (plan.delete, plan.spared) == (("x",) if deleted else (), (SparedFile("x", LEFT),) if spared else ())
    assert plan.files == {}
    removal = plan_removal({"x": HASH[OLD]}, {"x": HASH[disk] if disk else None})
    assert (removal.delete, removal.spared) == (plan.delete, (SparedFile("x", CHANGED),) if spared else ())


def test_line_ends_as_git_checks_them_out_change_nothing() -> None:
    assert digest(b"a\r\nb\r\n") == digest(b"a\nb\n") != digest(b"a\nb")


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [("0.10.0", "0.9.9", True), ("1.0", "1.0.0", False), ("1.0.1", "1.0", True), ("0.2.0", "0.10.0", False)],
)
def test_versions_compare_by_number(version: str, than: str, newer: bool) -> None:
    assert is_newer(version, than) is newer
