"""Which Windmill a command speaks to, and a client of it.

--server URL       that server; its token comes from FLEXCORE_TOKEN, WM_TOKEN or a wmill profile, never from an argument
--server NAME      that wmill profile
--server embedded  an engine in this process, on the bundle at --root
(none)             flexcore.yaml's server, else the active wmill profile, else the embedded engine

Where there is no bundle, the embedded engine opens that of this command line itself: it knows the runs of all bundles.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from f.flexcore.lib.core.errors import InvalidInput, MissingSetting, NotFound
from flexcore import INSTALLED_ROOT
from flexcore.client.profiles import Profile, active, profiles
from flexcore.client.windmill import Windmill
from wmlocal.suggest import did_you_mean

if TYPE_CHECKING:
    from flexcore.configuration.models import FlexcoreFile
    from wmlocal.engine.engine import Engine

EMBEDDED = "embedded"
TOKENS = ("FLEXCORE_TOKEN", "WM_TOKEN")


@dataclass(frozen=True, slots=True)
class Target:
    """A server's workspace; chosen: by what, for people."""

    url: str
    workspace: str
    token: str = field(repr=False)
    chosen: str = ""
    verify_tls: bool = True

    def __str__(self) -> str:
        return f"{self.url}, workspace {self.workspace} ({self.chosen})"


def choose(server: str, workspace: str, root: Path) -> Target | None:
    """None: the embedded engine. Raises MissingSetting, NotFound or InvalidInput."""
    if server == EMBEDDED:
        return None
    if "://" in server:
        return _by_url(server.rstrip("/"), workspace)
    if server:
        return _of_profile(_profile(server), workspace, f"wmill profile {server}")
    from flexcore.configuration.files import FLEXCORE, read_configuration

    if (root / FLEXCORE).is_file():
        configured = read_configuration(root)
        return _target_of_configuration(configured.flexcore, configured.windmill.security.verify_tls)
    current = active()
    return _of_profile(current, workspace, f"active wmill profile {current.name}") if current else None


def _target_of_configuration(file: FlexcoreFile, verify_tls: bool) -> Target | None:
    if file.engine == EMBEDDED:
        return None
    return Target(file.server_url.rstrip("/"), file.workspace, file.token, "flexcore.yaml", verify_tls)


def _of_profile(profile: Profile, workspace: str, chosen: str) -> Target:
    return Target(profile.url, workspace or profile.workspace, profile.token, chosen)


def _profile(name: str) -> Profile:
    known = {item.name: item for item in profiles()}
    if name not in known:
        raise NotFound(
            f"There is no wmill profile {name}{did_you_mean(name, known)}",
            subject="--server",
            remedy="Add it with `wmill workspace add`, give a URL, or `--server embedded`.",
        )
    return known[name]


def _by_url(url: str, workspace: str) -> Target:
    engine = _token_of_engine(url)
    if engine:
        return Target(url, workspace or "local", engine, "an engine on this machine")
    fitting = [item for item in profiles() if item.url == url and workspace in ("", item.workspace)]
    workspace = workspace or os.environ.get("WM_WORKSPACE") or (fitting[0].workspace if fitting else "")
    if not workspace:
        raise InvalidInput(f"{url} has several workspaces", subject="--workspace", remedy="Name one with --workspace.")
    for name in TOKENS:
        if os.environ.get(name):
            return Target(url, workspace, os.environ[name], f"token from {name}")
    if not fitting:
        raise MissingSetting(
            f"There is no token for {url}",
            subject="token",
            remedy="Set FLEXCORE_TOKEN, or add a profile with `wmill workspace add`.",
        )
    return _of_profile(fitting[0], workspace, f"wmill profile {fitting[0].name}")


def _token_of_engine(url: str) -> str:
    """The token of a `flexcore serve` of this user; "" when the URL is none of them."""
    from wmlocal.engine.runs import default_home, list_engines
    from wmlocal.engine.store import Store

    url = url.replace("://localhost:", "://127.0.0.1:")
    home = default_home()
    if not url.startswith("http://127.0.0.1:") or not (home / "token").is_file():
        return ""
    with contextlib.closing(Store(home)) as store:
        is_ours = any(engine["url"] == url for engine in list_engines(store))
    return (home / "token").read_text(encoding="utf-8") if is_ours else ""


@contextlib.contextmanager
def open_client(
    server: str, workspace: str, root: Path, *, starts_runs: bool = True
) -> Iterator[tuple[Windmill, Target | None]]:
    """A client whose token and workspace are good; what it speaks to is said on stderr first. An embedded engine lives
    as long as the block does, and what runs in it ends with it."""
    target = choose(server, workspace, root)
    if target is None:
        with open_embedded(root, starts_runs=starts_runs) as (client, _):
            yield client, None
        return
    say(f"server {target}")
    with Windmill(target.url, target.workspace, target.token, verify_tls=target.verify_tls) as client:
        client.check()
        yield client, target


@contextlib.contextmanager
def open_embedded(root: Path, *, starts_runs: bool = True) -> Iterator[tuple[Windmill, Engine]]:
    """starts_runs: Ctrl-C cancels them; without any it ends the command, as in any other program."""
    from wmlocal.engine.bundle import is_bundle
    from wmlocal.engine.engine import Engine

    bundle = INSTALLED_ROOT if root == Path() and not is_bundle(root) else root
    with Engine(bundle, on_problem=lambda problem: say(f"warning: {problem}")) as engine:
        say(f"embedded engine, bundle {engine.bundle.root}")
        engine.serve()
        with (
            engine.handling_signals() if starts_runs else contextlib.nullcontext(),
            Windmill(engine.url, engine.workspace, engine.token) as client,
        ):
            yield client, engine


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
