"""`flexcore up` and `flexcore down`: what a person needs on this machine, in the background, until it is stopped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flexcore.commands.dashboard import PORT
from flexcore.console import AsJson, Root, examples, print_json, run_guarded, say

if TYPE_CHECKING:
    from flexcore.panel.stack_state import StackState, StateFile

# Ray's head takes up to two minutes on a loaded machine of two cores.
START_TIMEOUT_S = 180.0
# The engine cancels what runs, each step within its own grace period, and Ray's daemons end.
STOP_TIMEOUT_S = 60.0
HEALTH_TIMEOUT_S = 10.0
POLL_INTERVAL_S = 0.1


def up(
    root: Root = Path(),
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port on loopback: 8080; 0 picks a free one.")
    ] = None,
    without_ray: Annotated[bool, typer.Option("--without-ray", help="No Ray head, for a small machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start engine, dashboard, HTTP API and a Ray head here, in the background; interrupted runs are resumed.

    Requests name them as $res:u/admin/local_ray, local_settings and local_project. Safe to repeat."""
    run_guarded(lambda: _up(root, port, not without_ray, as_json))


def down(as_json: AsJson = False) -> None:
    """Stop what `flexcore up` has started, and nothing else. Runs are canceled; the data stays."""
    run_guarded(lambda: _down(as_json))


def register(app: typer.Typer, panel: str) -> None:
    app.command(rich_help_panel=panel, epilog=examples("flexcore up", "flexcore up --without-ray --port 9000"))(up)
    app.command(rich_help_panel=panel, epilog=examples("flexcore down"))(down)


def _up(root: Path, port: int | None, with_ray: bool, as_json: bool) -> int:
    from f.flexcore.lib.core.errors import InvalidInput
    from flexcore import INSTALLED_ROOT
    from flexcore.panel.stack_state import StateFile
    from wmlocal.engine.bundle import Bundle, is_bundle
    from wmlocal.engine.runs import default_home
    from wmlocal.engine.store import make_private

    bundle = Bundle(INSTALLED_ROOT if root == Path() and not is_bundle(root) else root).root
    home = default_home()
    file = StateFile(home)
    make_private(home)
    make_private(file.folder)
    before = file.read()
    if before is None or not before.is_alive():
        say(f"starting; the log is {file.log}")
        _spawn(file, home, bundle, PORT if port is None else port, with_ray)
    state = _wait_ready(file)
    if state.root != str(bundle):
        raise InvalidInput(
            f"`flexcore up` is already running, for the bundle {state.root}",
            subject="--root",
            remedy="Stop it with `flexcore down`, or set FLEXCORE_HOME to a folder for this one.",
        )
    if difference := find_difference(state, port, with_ray):
        say(f"`flexcore up` was running before, {difference}; to change that: flexcore down, then this command again")
    _show(state, home, as_json)
    return 0


def find_difference(state: StackState, port: int | None, with_ray: bool) -> str:
    """What runs otherwise than asked; "" for nothing."""
    running = state.url.rpartition(":")[2]
    if port and running != str(port):
        return f"on port {running}"
    if with_ray != bool(state.ray):
        return "with a Ray head" if state.ray else "without a Ray head"
    return ""


def _spawn(file: StateFile, home: Path, bundle: Path, port: int, with_ray: bool) -> None:
    """Starts the process that keeps everything, and returns when it or another one is there. Raises CannotStart."""
    from flexcore.panel.stack_state import TAKEN
    from wmlocal.engine.errors import CannotStart

    command = [sys.executable, "-m", "flexcore.panel.stack", str(bundle), str(port)]
    with os.fdopen(os.open(file.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
        # A session of its own: it outlives this terminal.
        process = subprocess.Popen(
            [*command, *(() if with_ray else ("--without-ray",))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "FLEXCORE_HOME": str(home)},
            start_new_session=True,
        )
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        state, code = file.read(), process.poll()
        if state and state.is_alive() and (state.process.pid == process.pid or code == TAKEN):
            return
        if code is not None and code != TAKEN:
            reason = state.error if state and state.process.pid == process.pid else ""
            raise CannotStart(reason or f"`flexcore up` exited during startup; see its log {file.log}")
        time.sleep(POLL_INTERVAL_S)
    raise CannotStart(f"`flexcore up` did not start within {START_TIMEOUT_S:.0f} s; see its log {file.log}")


def _wait_ready(file: StateFile) -> StackState:
    """Raises CannotStart, Unavailable or InvalidInput."""
    from f.flexcore.lib.core.errors import Unavailable
    from flexcore.panel.stack_state import READY
    from wmlocal.engine.errors import CannotStart

    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        state = file.read()
        if state is None or not state.is_alive():
            raise CannotStart((state and state.error) or f"`flexcore up` exited while starting; see its log {file.log}")
        if state.phase == READY:
            if not _is_healthy(state.url):
                raise Unavailable(
                    f"Process {state.process.pid} of an earlier `flexcore up` is still running, but {state.url} does"
                    " not answer",
                    remedy=f"Try again, or stop it with `flexcore down`; its log is {file.log}.",
                )
            return state
        time.sleep(POLL_INTERVAL_S)
    raise Unavailable(
        f"`flexcore up` is still starting after {START_TIMEOUT_S:.0f} s",
        remedy=f"See {file.log}, or stop it with `flexcore down`.",
    )


def _is_healthy(url: str) -> bool:
    import httpx

    until = time.monotonic() + HEALTH_TIMEOUT_S
    while time.monotonic() < until:
        try:
            return httpx.get(f"{url}/healthz", timeout=HEALTH_TIMEOUT_S, trust_env=False).is_success
        except httpx.HTTPError:
            time.sleep(POLL_INTERVAL_S)
    return False


def _show(state: StackState, home: Path, as_json: bool) -> None:
    from flexcore.panel.engine import KEY_PURPOSE, make_page_url
    from flexcore.panel.local_resources import PROJECT, RAY, SETTINGS
    from wmlocal.engine.runs import sign

    token_file = home / "token"
    page = make_page_url(state.url, sign(token_file.read_text(encoding="utf-8"), KEY_PURPOSE))
    if as_json:
        shown = {"url": state.url, "dashboard": page, "token_file": str(token_file), "ray": state.ray or None}
        print_json(shown | {"root": state.root, "pid": state.process.pid, "store": str(home / "store")})
        return
    lines = {
        "dashboard": page,
        "API": f"{state.url}/api/ (its token: {token_file})",
        "bundle": state.root,
        "Ray": f"{state.ray}, in requests $res:{RAY}" if state.ray else "none (--without-ray)",
        "store": f"{home / 'store'}, in requests $res:{SETTINGS}",
        "Meltano": f"the sample project, in requests $res:{PROJECT}",
        "log": str(home / "up/log"),
        "to stop": "flexcore down",
    }
    for name, text in lines.items():
        print(f"{name:<10} {text}")


def _down(as_json: bool) -> int:
    from flexcore.panel.stack_state import StateFile
    from wmlocal.engine.runs import default_home

    home = default_home()
    file = StateFile(home)
    state = file.read()
    was_up = state is not None and state.is_alive()
    if state is not None:
        if not state.process.end(STOP_TIMEOUT_S):
            say(
                f"Process {state.process.pid} did not end within {STOP_TIMEOUT_S:.0f} s and was killed before it could"
                " cancel what ran: the next `flexcore up` goes on with it."
            )
        if state.ray_temp:
            from flexcore.ray_head import end_leftovers

            end_leftovers(Path((file.read() or state).ray_temp))
    canceled = ((file.read() or state).canceled if state else []) if was_up else []
    if as_json:
        print_json({"stopped": was_up, "canceled": canceled, "home": str(home)})
        return 0
    print(f"Stopped. The data stays in {home}." if was_up else "Nothing of `flexcore up` was running.")
    for job in canceled:
        print(f"Canceled: {job}")
    return 0
