"""What a person tries first: help, version, a typing error. That the pages say what the help says: tests/docs."""

from __future__ import annotations

import re
import subprocess
import sys

import httpx
import pytest

from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput
from flexcore.client.windmill import Windmill
from tests.flexcore.configuration.conftest import ROOT
from tests.wmlocal.engine.conftest import Command

# What takes long to import, and no help needs.
HEAVY = {"rich", "pydantic", "httpx", "yaml", "numpy", "pyarrow", "fastapi", "starlette", "wmill"}


def test_help_version_and_typing_errors_are_what_people_expect(flexcore: Command) -> None:
    for arguments in (["-h"], ["workflow", "-h"], ["workflow", "execute", "-h"], ["demo", "-h"]):
        assert flexcore(*arguments).returncode == 0, arguments
    assert re.match(r"flexcore \d+\.\d+", flexcore("--version").stdout)
    assert "execute" in flexcore("workflow").stdout
    assert "'workflow'" in flexcore("wrkflow").stderr and "'execute'" in flexcore("workflow", "exceute").stderr
    assert "--runtime" in flexcore("workflow", "execute", "x", "--rutime", "ray").stderr


def test_help_imports_nothing_that_takes_long() -> None:
    shown = "flexcore.cli.app(['--help'], standalone_mode=False)"
    code = f"import sys, flexcore.cli; {shown}; print(sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout.startswith("Usage: ") and done.stdout.endswith("\n[]\n")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (httpx.Response(200, html="<html>"), "does not answer as a Windmill"),
        (httpx.Response(200, json=[1]), "does not answer as a Windmill"),
        (httpx.Response(200, text="{", headers={"content-type": "application/json"}), "broken JSON"),
        (httpx.Response(302, headers={"location": "https://sso.example.com"}), "redirects to https://sso.example.com"),
        (httpx.Response(429), "Try again later"),
        (httpx.Response(500, text="Internal"), "own log"),
    ],
)
def test_what_is_no_windmill_or_a_broken_one_is_told(answer: httpx.Response, words: str) -> None:
    client = Windmill("https://w.example.com", "prod", "t", transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(FlexcoreError, match=words):
        client.check()


@pytest.mark.parametrize("token", ["planted\n", "plantéd", "two planted"])
def test_a_token_that_is_none_is_told_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidInput, match="characters that no token has") as told:
        Windmill("https://w.example.com", "prod", token)
    assert "plant" not in str(told.value)
