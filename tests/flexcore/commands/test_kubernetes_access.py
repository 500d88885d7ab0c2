"""`flexcore kubernetes access`: how a kubeconfig is read, without asking the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kubernetes.test_access import CA, PLAIN
from tests.wmlocal.engine.conftest import Command

FIELDS = {
    "context": "a",
    "server": "https://10.0.0.1:6443",
    "namespace": "",
    "certificate_authority_bytes": len(CA),
    "user": "token",
    "proxy": "",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig.yaml"
    path.write_text(PLAIN)
    return path


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (("", ""), {}),
        (("    token: t0ken", "    {}"), {"user": "none"}),
        (("user: u", "user: u\n    namespace: team"), {"namespace": "team"}),
        (("6443", "6443\n    proxy-url: http://joe:pr0xy-word@proxy:3128"), {"proxy": "http://joe:***@proxy:3128"}),
    ],
)
def test_it_says_how_a_step_would_reach_the_cluster(
    flexcore: Command, file: Path, change: tuple[str, str], differs: dict[str, str]
) -> None:
    file.write_text(PLAIN.replace(*change))
    done = flexcore("kubernetes", "access", str(file), "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, FIELDS | differs)
    shown = flexcore("kubernetes", "access", str(file), "--context", "a").stdout.splitlines()
    assert shown == [f"{name}: {value}" for name, value in (FIELDS | differs).items()]


def test_a_kubeconfig_of_windows_is_read_too(flexcore: Command, file: Path) -> None:
    file.write_bytes(PLAIN.replace("\n", "\r\n").encode("utf-16"))
    assert json.loads(flexcore("kubernetes", "access", str(file), "--json").stdout) == FIELDS


@pytest.mark.parametrize(
    ("content", "arguments", "subject", "words"),
    [
        (PLAIN, ["--context", "b"], "cluster.context", "has no context named 'b'"),
        (PLAIN + "    as: jane\n", [], "cluster.kubeconfig", "acts as another user (as)"),
        ("\ttabs: x\n", [], "cluster.kubeconfig", "there is a tab at line 1"),
        (None, [], "FILE", "cannot be read: No such file or directory"),
        ("\udcff", [], "FILE", "it is not text in UTF-8"),
    ],
)
def test_what_cannot_be_used_ends_with_code_2_and_the_steps_own_error(
    flexcore: Command, file: Path, content: str | None, arguments: list[str], subject: str, words: str
) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content.encode(errors="surrogateescape"))
    done = flexcore("kubernetes", "access", str(file), *arguments, "--json")
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 2 and set(error) == {"category", "message", "subject", "remedy"}
    assert (error["category"], error["subject"]) == ("invalid_input", subject) and words in error["message"]
    told = flexcore("kubernetes", "access", str(file), *arguments)
    assert told.returncode == 2 and words in told.stderr and told.stdout == ""
