"""A kubeconfig is read as kubectl reads it: a stored table, which a kubectl on this machine confirms."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from f.flexcore.lib.core.errors import UserError
from f.flexcore.lib.kubernetes_api.credentials import from_kubeconfig
from tests.kubernetes.kubeconfig_cases import CASES, Expected

KUBECTL = os.environ.get("FLEXCORE_KUBECTL") or shutil.which("kubectl")


def read(files: list[str]) -> Expected:
    """What we read of the files as one text."""
    try:
        found = from_kubeconfig("\n---\n".join(files))
    except UserError as error:
        assert error.remedy and error.subject.startswith("cluster.")
        return None
    return found.context, found.server, found.token, found.namespace


@pytest.mark.parametrize("name", CASES)
def test_a_kubeconfig_is_read_as_kubectl_reads_it(name: str) -> None:
    files, expected = CASES[name]
    assert read(files) == expected


@pytest.mark.skipif(not KUBECTL, reason="no kubectl: FLEXCORE_KUBECTL or PATH")
@pytest.mark.parametrize("name", CASES)
def test_the_table_is_what_a_real_kubectl_says(name: str, tmp_path: Path) -> None:
    files, expected = CASES[name]
    paths = [tmp_path / str(index) for index in range(len(files))]
    for path, text in zip(paths, files, strict=True):
        path.write_bytes(text.encode())
    command = [str(KUBECTL), "config", "view", "--minify", "--raw", "--output", "json"]
    env = {**os.environ, "KUBECONFIG": os.pathsep.join(map(str, paths))}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    if expected is None:
        assert done.returncode != 0
        return
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    context, cluster = config["contexts"][0], config["clusters"][0]["cluster"]
    user = (config.get("users") or [{"user": {}}])[0]["user"]
    found = config["current-context"], cluster["server"], user.get("token", ""), context["context"].get("namespace", "")
    assert found == expected


@pytest.mark.skipif(not KUBECTL, reason="no kubectl: FLEXCORE_KUBECTL or PATH")
def test_of_one_file_with_two_documents_kubectl_reads_what_we_read_of_both(tmp_path: Path) -> None:
    text = "\n---\n".join(CASES["two files, the first says all"][0])
    (tmp_path / "config").write_text(text)
    command = [str(KUBECTL), "config", "view", "--minify", "--raw", "--output", "jsonpath={.users[0].user.token}"]
    done = subprocess.run(
        command, env={**os.environ, "KUBECONFIG": str(tmp_path / "config")}, capture_output=True, text=True
    )
    assert done.stdout == from_kubeconfig(text).token == "ta"
