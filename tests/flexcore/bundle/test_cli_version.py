"""A wmill CLI that is too old for a raw app, told before anything is pushed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from flexcore.bundle import cli_version
from flexcore.commands import doctor


def make_cli(folder: Path, version: str) -> str:
    """As npm installs it: a link to the package's program."""
    program = folder / "node_modules/windmill-cli/esm/main.js"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    package = {"name": "windmill-cli", "version": version}
    (folder / "node_modules/windmill-cli/package.json").write_text(json.dumps(package))
    link = folder / "node_modules/.bin/wmill"
    link.parent.mkdir()
    link.symlink_to(program)
    return str(link)


@pytest.mark.parametrize(
    ("version", "refused"), [("1.818.9", True), ("1.743.0", True), ("1.819.0", False), ("2.0.1", False)]
)
def test_a_bundle_with_a_raw_app_needs_a_cli_that_keeps_its_policy(tmp_path: Path, version: str, refused: bool) -> None:
    cli = make_cli(tmp_path, version)
    cli_version.check_raw_apps(cli, tmp_path)
    app = tmp_path / "f/x/y__raw_app/raw_app.yaml"
    app.parent.mkdir(parents=True)
    app.write_text("summary: y\n")
    if refused:
        with pytest.raises(InvalidInput, match=r"rights of its publisher.*1\.819 or later"):
            cli_version.check_raw_apps(cli, tmp_path)
    else:
        cli_version.check_raw_apps(cli, tmp_path)
    found = next(item for item in doctor.check_machine(tmp_path) if item.check == "wmill")
    assert (found.state == doctor.MISSING) is refused
    assert version.rpartition(".")[0] in found.detail


def test_a_program_that_lies_in_no_package_says_nothing(tmp_path: Path) -> None:
    program = tmp_path / "wmill"
    program.write_text("#!/bin/sh\n")
    assert cli_version.read_version(str(program)) is None
    (tmp_path / "package.json").write_text('{"name": "other", "version": "1.2.3"}')
    assert cli_version.read_version(str(program)) is None
    assert not cli_version.is_too_old(None)
