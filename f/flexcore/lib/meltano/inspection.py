# requirements: flexcore_base
"""Asks Meltano what a project is and what its plugins get, once for each content.

remote/project_inspector.py runs in Meltano's own environment (about 2 s). Its answer is kept, encrypted, under all that
it depends on: the request, its variables, the project's files and lock files, Meltano's version. A second request of
the same content starts no Meltano. A kept answer can be read only by who has all that it was made from: the key derives
from that content, which holds the same secrets, so a copy of the folder tells nothing. The keystream is SHAKE-256 over
key and nonce, the tag an HMAC: both are of the standard library, and an import of cryptography would cost each step
more than the hash does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from f.flexcore.lib.core import errors, redaction
from f.flexcore.lib.meltano import (
    installation,
    resolved_project,
)

# It takes two seconds; a worker with much to do may take ten times as long.
INSPECTION_TIMEOUT_S = 120
MAX_ANSWER_AGE_S = 30 * 24 * 3600
# The inspector, and what it imports.
MODULES = ("project_inspector", "plugin_values")
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from f.flexcore.lib.meltano.remote import project_inspector; "
    "project_inspector.serve()"
)
TAIL_LINES = 20

Name = tuple[str, str]


class Inspector:
    """Meltano on one project. The program is started for the first answer that is not known; it ends with the block."""

    def __init__(self, root: Path, files: Sequence[Path]) -> None:
        self._root = root
        self._process: subprocess.Popen[str] | None = None
        self._exit = ExitStack()
        with installation.report_disk_errors():
            self._modules = installation.install_modules(MODULES)
        own = [*files, root / ".env", root / ".python-version", *sorted(root.glob("plugins/*/*.lock"))]
        self._digest = digest_files(own)

    def __enter__(self) -> Inspector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def definitions(
        self, env: Mapping[str, str], environment: str, names: Sequence[Name]
    ) -> tuple[str, dict[Name, resolved_project.Plugin]]:
        """The environment that is chosen, and each plugin by kind and name. Raises the UserErrors of what is wrong."""
        found = self._ask("definitions", env, environment=environment, plugins=names)
        return found["environment"], {
            name: parse_plugin(item) for name, item in zip(names, found["plugins"], strict=True)
        }

    def values(
        self,
        env: Mapping[str, str],
        environment: str,
        block_sets: Sequence[Sequence[Name]],
        known: Mapping[Name, resolved_project.Plugin],
    ) -> tuple[resolved_project.Project, list[list[resolved_project.Plugin]]]:
        """The project's own settings, and each block set's plugins with what they get."""
        found = self._ask("values", env, environment=environment, block_sets=block_sets)
        project = resolved_project.Project(
            self._root,
            environment,
            {name: parse_value(item) for name, item in found["settings"].items()},
            found["state_id_suffix"],
            found["variables"],
        )
        return project, [
            [add_values(known[name], item) for name, item in zip(names, items, strict=True)]
            for names, items in zip(block_sets, found["block_sets"], strict=True)
        ]

    def _ask(self, question: str, env: Mapping[str, str], **arguments: Any) -> dict[str, Any]:
        request = {"question": question, "root": str(self._root), "env": self._environment(env), **arguments}
        version = [installation.MELTANO_VERSION, self._modules.name, self._digest]
        content = json.dumps([*version, request], sort_keys=True).encode()
        folder = installation.folder("answers")
        answer = read_answer(folder, content)
        if answer is None:
            answer = self._request_answer(request)
            installation.remove_older_files(folder, MAX_ANSWER_AGE_S)
            write_answer(folder, content, answer)
        return dict(answer)

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        return {
            **env,
            "MELTANO_PROJECT_ROOT": str(self._root),
            "MELTANO_SYS_DIR_ROOT": str(installation.inspection_folder()),
            "MELTANO_PROJECT_READONLY": "true",
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        }

    def _request_answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        process = self._process = self._process or self._start()
        assert process.stdin and process.stdout
        timer = threading.Timer(INSPECTION_TIMEOUT_S, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if not line:
            process.wait()
            self._errors.seek(0)
            raise explain_crash(process.returncode, self._errors.read(), request["env"])
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise parse_refusal(answer["error"])
        return answer

    def _start(self) -> subprocess.Popen[str]:
        # A file and no pipe: nobody reads it while Meltano works.
        self._errors = self._exit.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))  # noqa: SIM115
        process = subprocess.Popen(
            [str(installation.meltano_python()), "-I", "-c", START, str(self._modules)],
            env=installation.base_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._exit.enter_context(process)
        self._exit.callback(process.kill)
        return process


def read_dotenv(root: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The variables of a project's .env file, as Meltano reads them; none when there is no such file."""
    if not (root / ".env").is_file():
        return {}
    with Inspector(root, []) as inspector:
        return dict(inspector._ask("dotenv", env, path=str(root / ".env"))["variables"])


def digest_files(files: Sequence[Path]) -> str:
    """A hash of names and contents; a file that is not there counts as empty."""
    total = hashlib.sha256()
    for path in files:
        data = path.read_bytes() if path.is_file() else b""
        total.update(f"{path}\n{len(data)}\n".encode())
        total.update(data)
    return total.hexdigest()


def parse_refusal(error: Mapping[str, str]) -> errors.FlexcoreError:
    return errors.KINDS[error["type"]](error["message"], subject=error["subject"], remedy=error["remedy"])


def explain_crash(code: int, stderr: str, env: Mapping[str, str]) -> errors.ExecutionFailed:
    """The program ended without an answer: it was killed, or Meltano raised what it does not expect."""
    redactor = redaction.Redactor(value for name, value in env.items() if redaction.SECRET_NAME.search(name))
    lines = [line for line in redactor.text(stderr).splitlines() if line.strip()]
    why = f"no answer within {INSPECTION_TIMEOUT_S} s" if code == -signal.SIGKILL else (lines or ["no output"])[-1]
    return errors.ExecutionFailed(
        f"Meltano cannot inspect the project: {why[:300]}",
        subject="project",
        remedy="Run `meltano config print PLUGIN` in the project, which reads the same.",
        category="meltano_failed",
        log_tail="\n".join(lines[-TAIL_LINES:]),
    )


def parse_plugin(item: Mapping[str, Any]) -> resolved_project.Plugin:
    settings = tuple(
        resolved_project.Setting(
            **{**setting, "aliases": tuple(setting["aliases"]), "variables": tuple(setting["variables"])}
        )
        for setting in item["settings"]
    )
    groups = tuple(tuple(group) for group in item["groups"])
    return resolved_project.Plugin(
        **{**item, "settings": settings, "groups": groups, "capabilities": tuple(item["capabilities"])}
    )


def add_values(plugin: resolved_project.Plugin, item: Mapping[str, Any]) -> resolved_project.Plugin:
    return replace(
        plugin,
        values={name: parse_value(value) for name, value in item["settings"].items()},
        config={name: value for name, value in item["config"].items() if value is not None},
        requirements=tuple(item["pip_arguments"]),
        requirements_unset=parse_unset(item["pip_unset"]),
        python=item["python"],
        mapping_config=parse_value(item["mapping"] or {}),
        env=parse_value(item["env"]),
    )


def parse_value(item: Mapping[str, Any]) -> resolved_project.Value:
    return resolved_project.Value(**{**item, "unset": parse_unset(item.get("unset", ()))})


def parse_unset(items: Sequence[Mapping[str, str]]) -> tuple[resolved_project.Unset, ...]:
    return tuple(resolved_project.Unset(**item) for item in items)


NONCE_BYTES = 16
TAG_BYTES = 32


def read_answer(folder: Path, content: bytes) -> Any:
    """The value that was written for the content; None when there is none or it was altered."""
    try:
        data = _path(folder, content).read_bytes()
    except OSError:
        return None
    nonce, tag, hidden = (
        data[:NONCE_BYTES],
        data[NONCE_BYTES : NONCE_BYTES + TAG_BYTES],
        data[NONCE_BYTES + TAG_BYTES :],
    )
    if not hmac.compare_digest(tag, _tag(content, nonce + hidden)):
        return None
    return json.loads(_apply_keystream(content, nonce, hidden))


def write_answer(folder: Path, content: bytes, value: Any) -> None:
    """Keeps the value; on a disk that is full or broken it is made again the next time."""
    nonce = os.urandom(NONCE_BYTES)
    hidden = _apply_keystream(content, nonce, json.dumps(value).encode())
    path = _path(folder, content)
    part = path.with_suffix(f".{os.getpid()}")
    try:
        part.write_bytes(nonce + _tag(content, nonce + hidden) + hidden)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)


def _path(folder: Path, content: bytes) -> Path:
    return folder / f"{hashlib.sha256(b'name' + content).hexdigest()[:32]}.sealed"


def _tag(content: bytes, data: bytes) -> bytes:
    return hmac.digest(hashlib.sha256(b"tag" + content).digest(), data, "sha256")


def _apply_keystream(content: bytes, nonce: bytes, data: bytes) -> bytes:
    stream = hashlib.shake_256(hashlib.sha256(b"key" + content).digest() + nonce).digest(len(data))
    return (int.from_bytes(data) ^ int.from_bytes(stream)).to_bytes(len(data))
