"""`flexcore metadata` writes what a server and the CLI write, byte by byte.

metadata_cases.json holds what `wmill generate-metadata --yes` (CLI 1.819) wrote with a real server (1.743, whose
`instance_python_version` is 3.11) at hand: the files before, and those that it wrote or changed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wmlocal.lint import check
from wmlocal.metadata.fake_server import FakeServer
from wmlocal.metadata.locks import NoLock, python_lock
from wmlocal.metadata.requirements import NoRequirements, choose_python, infer_requirements, specifiers

ROOT = Path(__file__).parents[3]
CASES = json.loads((Path(__file__).parent / "metadata_cases.json").read_text())


def metadata(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flexcore", "metadata", "--root", str(root), "--python", "3.11", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def written(root: Path, names: list[str]) -> dict[str, str | None]:
    return {name: (root / name).read_bytes().decode() if (root / name).exists() else None for name in names}


@pytest.mark.parametrize("case", CASES)
def test_schemas_locks_and_hashes_are_a_servers_byte_by_byte(case: str, tmp_path: Path) -> None:
    for name, text in CASES[case]["given"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = metadata(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert written(tmp_path, list(CASES[case]["written"])) == CASES[case]["written"]
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == set(CASES[case]["given"]) | set(CASES[case]["written"])
    # What was just written is nothing to complain about.
    rules = {finding.rule for finding in check(tmp_path) if finding.file != "f/md/syntax_error.py"}
    assert not {rule for rule in rules if rule.startswith("schema") or rule.endswith("lock")}


@pytest.mark.parametrize(
    ("head", "instance", "version"),
    [
        ("# py: ==3.11.*\n", "3.12", "3.11"),
        ("# py310\n", "3.11", "3.10"),
        ("# py: >=3.11,<3.13\n", "3.11", "3.11"),
        ("# py: >=3.11,<3.13\n", "3.12", "3.12"),
        ("# py: >=3.12\n", "3.11", "3.12"),
        ("# py: >3.11\n", "3.11", "3.11"),
        ("# py: <3.11\n", "3.11", "3.10"),
        ("x = 1\n# py311\n", "3.12", "3.12"),
    ],
)
def test_a_script_gets_the_python_next_above_the_instances_own(head: str, instance: str, version: str) -> None:
    assert choose_python(specifiers(head), instance) == version


@pytest.mark.parametrize(("head", "said"), [("# py: ~=3.11.4\n", "only a server knows"), ("# py: <3.9\n", "no Python")])
def test_a_python_that_cannot_be_told_is_refused(head: str, said: str) -> None:
    with pytest.raises(NoRequirements, match=said):
        choose_python(specifiers(head), "3.11")


def test_pins_count_through_imported_scripts_as_on_a_server() -> None:
    scripts = {
        "f/a/pins": "import idna  # pin: idna==3.7\nimport six\n",
        "f/a/set": "# requirements: base\nimport never_looked_at\n",
        "dependencies/base.requirements.in": "certifi==2025.1.31\n",
    }
    code = "import idna\nfrom f.a.pins import x\nfrom f.a.set import y\nimport cv2, google.cloud.storage\nimport bs4\n"
    locked = ["bs4", "certifi==2025.1.31", "google-cloud-storage", "idna==3.7", "opencv-python", "six"]
    assert infer_requirements(code, "f/a/b", scripts.get).lines == locked
    nearer = code.replace("import idna", "import idna  # repin: idna==3.10", 1)
    assert "idna==3.10" in infer_requirements(nearer, "f/a/b", scripts.get).lines
    assert "idna==3.7" not in infer_requirements(nearer, "f/a/b", scripts.get).lines


def test_a_set_in_extra_mode_is_refused_as_a_server_does() -> None:
    sets = {"dependencies/base.requirements.in": "idna==3.10\n"}
    with pytest.raises(NoLock, match="# requirements: NAME"):
        python_lock("# extra_requirements: base\n", "f/a/b", sets, lambda _: None)


def test_another_language_fails_its_dependency_job_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "f/a").mkdir(parents=True)
    (tmp_path / "wmill.yaml").write_text("includes: [f/**]\nnonDottedPaths: true\n")
    (tmp_path / "f/a/b.ts").write_text("export async function main() {}\n")
    done = metadata(tmp_path)
    assert done.returncode == 1
    assert "run wmill generate-metadata for the others" in done.stdout + done.stderr


def test_what_is_not_a_bundle_is_refused(tmp_path: Path) -> None:
    assert metadata(tmp_path).returncode == 2


def test_the_fake_server_does_nothing_else_than_it_must() -> None:
    fake_server = FakeServer(lambda *_: "")
    assert fake_server.answer("POST", "/api/w/local/scripts/create", b"{}")[0] == 404
    assert fake_server.answer("GET", "/api/version", b"") == (200, "CE v1.743.0")
