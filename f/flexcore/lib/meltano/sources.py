# requirements: flexcore_base
"""Where a project comes from: a folder of the worker, a git repository, or the text of its meltano.yml.

A folder is used in place and not written to. A repository is fetched once per commit; its token goes to git through an
askpass program and the environment, never through the argument list. The identity names the project for its state: it
must stay the same over runs and worker restarts.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from f.flexcore.lib.core import errors, redaction, resources, tls_errors
from f.flexcore.lib.meltano import (
    installation,
    project_file,
)

GIT_TIMEOUT_S = 300
# git's own words; a bare number may be a part of the address.
ACCESS_REFUSED = re.compile(r"authentication failed|could not read username|returned error: 40[13]\b")
COMMIT = re.compile(r"[0-9a-f]{40}")
# Any user name goes with a token at GitHub; GitLab and Gitea take this one as well.
ASKPASS = '#!/bin/sh\ncase "$1" in Username*) echo x-access-token ;; *) printf "%s\\n" "$FLEXCORE_GIT_TOKEN" ;; esac\n'
# An inline text with no environment of its own gets this one: Meltano runs in an environment only.
INLINE_ENVIRONMENT = "flexcore"


@dataclass(frozen=True, slots=True)
class Source:
    """A project on disk. commit: the git commit in use, empty for other sources."""

    root: Path
    identity: str
    commit: str = ""


def open_project(project: resources.MeltanoProject, env: Mapping[str, str] = os.environ) -> Source:
    """The project's folder on this machine. Raises NotFound, Forbidden, InvalidInput or Unreachable."""
    if project.path:
        base, name, commit = Path(project.path).expanduser().absolute(), f"path {Path(project.path).absolute()}", ""
    elif project.git_url:
        base, commit = checkout(project)
        name = f"git {project.git_url}"
    else:
        base, name = write_inline_project(project.meltano_yml)
        commit = ""
    root = (base / project.subdirectory).resolve()
    if not root.is_relative_to(base.resolve()):
        raise errors.InvalidInput(
            "subdirectory leads out of the project",
            subject="project.subdirectory",
            remedy="Give a folder below its root.",
        )
    if not root.is_dir():
        subject = "project.subdirectory" if base.is_dir() else "project.path"
        raise errors.NotFound(
            f"There is no folder {root}",
            subject=subject,
            remedy="Check the path; it must exist on the worker that runs this.",
        )
    return Source(root, hash_identity(env.get("WM_WORKSPACE", ""), name, project.subdirectory), commit)


def hash_identity(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def write_inline_project(text: str) -> tuple[Path, str]:
    """A folder with the text as meltano.yml, and what names the project: its project_id, else the text itself."""
    try:
        document: Any = yaml.load(text, Loader=project_file.NamesLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise errors.InvalidInput(
            f"meltano_yml cannot be parsed{f' (line {mark.line + 1})' if mark else ''}",
            subject="project.meltano_yml",
            remedy="Correct the YAML.",
        ) from None
    if not isinstance(document, dict):
        raise errors.InvalidInput(
            "meltano_yml is not a YAML mapping", subject="project.meltano_yml", remedy="Give a whole meltano.yml."
        )
    if not document.get("environments"):
        text = add_environment(text, document)
    place = installation.folder("inline", hashlib.sha256(text.encode()).hexdigest()[:16])
    target = place / "meltano.yml"
    if not target.exists():
        part = place / f".{os.getpid()}"
        part.write_text(text, encoding="utf-8")
        part.replace(target)
    return place, f"inline {document.get('project_id') or text}"


def add_environment(text: str, document: Mapping[str, Any]) -> str:
    """The text with an environment, its own lines left as they are: Meltano reads YAML 1.2, where `on` is a word."""
    extra = {"environments": [{"name": INLINE_ENVIRONMENT}], "default_environment": INLINE_ENVIRONMENT}
    if not extra.keys() & document.keys():
        longer = f"{text.rstrip()}\n{yaml.safe_dump(extra)}"
        with contextlib.suppress(yaml.YAMLError):
            if yaml.load(longer, Loader=project_file.NamesLoader) == {
                **yaml.load(text, Loader=project_file.NamesLoader),
                **extra,
            }:
                return longer
    # An empty `environments:`, or a text in braces, has no place for another line.
    return yaml.safe_dump({**yaml.load(text, Loader=project_file.LOADER), **extra}, sort_keys=False)


def checkout(project: resources.MeltanoProject) -> tuple[Path, str]:
    """The repository's files at its ref, and the commit; one folder per commit, kept for the next run."""
    check_repository(project)
    place = installation.folder("git", hashlib.sha256(project.git_url.encode()).hexdigest()[:16])
    with installation.hold_lock(place / "lock", GIT_TIMEOUT_S):
        commit = project.git_ref if COMMIT.fullmatch(project.git_ref) else ""
        if not commit or not (place / commit / installation.COMPLETE).exists():
            commit = fetch(project, place)
        target = place / commit
        if not (target / installation.COMPLETE).exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            run_git(project, place, "--work-tree", str(target), "checkout", "--force", commit, "--", ".")
            (target / installation.COMPLETE).touch()
    return target, commit


def check_repository(project: resources.MeltanoProject) -> None:
    """Raises InvalidInput when URL or ref of the project's repository can be no such thing."""
    parts = urlsplit(project.git_url)
    if parts.scheme not in ("https", "http", "file"):
        raise errors.InvalidInput(
            "git_url must begin with https:// or file://",
            subject="project.git_url",
            remedy="Give the repository's HTTPS URL.",
        )
    if parts.username or parts.password:
        raise errors.InvalidInput(
            "git_url holds credentials",
            subject="project.git_url",
            remedy="Remove them and use git_token, which is kept secret.",
        )
    if project.git_ref.startswith("-"):
        raise errors.InvalidInput(
            f"git_ref: {project.git_ref!r} is an option and no ref",
            subject="project.git_ref",
            remedy="Give a branch, tag or commit.",
        )


def fetch(project: resources.MeltanoProject, place: Path) -> str:
    ref = project.git_ref or "HEAD"
    if not (place / "repository").is_dir():
        run_git(project, place, "init", "--quiet", "--bare")
    run_git(project, place, "fetch", "--quiet", "--depth", "1", "--no-tags", project.git_url, ref)
    return run_git(project, place, "rev-parse", "FETCH_HEAD^{commit}").strip()


def run_git(project: resources.MeltanoProject, place: Path, *arguments: str) -> str:
    """One git command on the bare repository below `place`."""
    askpass = place / "askpass"
    if not askpass.exists():
        askpass.write_text(ASKPASS)
        askpass.chmod(0o700)
    env = {
        **installation.base_environment(),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": str(askpass),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "FLEXCORE_GIT_TOKEN": project.git_token,
        "LC_ALL": "C",
    }
    command = [
        "git",
        "--git-dir",
        str(place / "repository"),
        "-c",
        "credential.helper=",
        "-c",
        "advice.detachedHead=false",
    ]
    try:
        done = subprocess.run(
            [*command, *arguments], env=env, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise errors.InvalidInput(
            "git is not installed on the worker", subject="project.git_url", remedy="Install git, or use path."
        ) from None
    except subprocess.TimeoutExpired:
        raise errors.Unreachable(
            f"git got no answer within {GIT_TIMEOUT_S} s", subject="project.git_url", remedy="Try again later."
        ) from None
    if done.returncode:
        raise explain_git_error(project, redaction.Redactor(project.secrets()).text(done.stderr))
    return done.stdout


def explain_git_error(project: resources.MeltanoProject, output: str) -> Exception:
    """git's complaint as a typed error."""
    complaint = next(
        (line for line in output.splitlines() if line.startswith(("fatal:", "error:", "remote:"))), output.strip()
    )
    lower = output.lower()
    if "couldn't find remote ref" in lower or "not our ref" in lower or "unadvertised object" in lower:
        return errors.NotFound(
            f"{project.git_url} has no ref {project.git_ref or 'HEAD'!r}",
            subject="project.git_ref",
            remedy="Give an existing branch, tag or commit.",
        )
    if ACCESS_REFUSED.search(lower):
        return errors.Forbidden(
            f"{project.git_url} refuses access", subject="project.git_token", remedy="Check that the token may read it."
        )
    if "not found" in lower or "does not exist" in lower or "not appear to be a git repository" in lower:
        return errors.NotFound(
            f"There is no repository at {project.git_url}",
            subject="project.git_url",
            remedy="Check the URL; a private repository needs a git_token.",
        )
    certificates = tls_errors.tls_remedy(output)
    return errors.Unreachable(
        f"git cannot fetch {project.git_url}: {complaint[:300]}",
        subject="project.git_url",
        category="tls" if certificates else "",
        remedy=certificates or "Check URL and network.",
    )
