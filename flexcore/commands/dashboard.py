"""`flexcore serve` and `flexcore dashboard`: the page, the HTTP API and health on one port."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flexcore.console import AsJson, Root, Workspace, examples, print_json, run_guarded, say

if TYPE_CHECKING:
    from wmlocal.engine.store import Row

PORT = 8080
PANEL_PORT = 8081
# An engine on this machine answers at once, or has much to do.
JOIN_TIMEOUT_S = 5.0
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on loopback; 0 picks a free one.")]


def serve(root: Root = Path(), port: Port = PORT, as_json: AsJson = False) -> None:
    """Serve the engine on loopback, until Ctrl-C: dashboard, Windmill's REST API and health on one port."""
    run_guarded(lambda: _serve(root, port, as_json))


def dashboard(
    root: Root = Path(),
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="8080, or 8081 with --server.")] = None,
    server: Annotated[str, typer.Option("--server", help="URL of the Windmill server to serve the page for.")] = "",
    workspace: Workspace = "",
    listen: Annotated[str, typer.Option("--listen", help="Address to listen on; with --server only.")] = "127.0.0.1",
    host_name: Annotated[
        list[str] | None, typer.Option("--host-name", help="Host name that clients use; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the dashboard's address: of the engine that serves this bundle, or of one that starts here."""
    if server:
        given = PANEL_PORT if port is None else port
        run_guarded(lambda: _serve_before(server, workspace, root, listen, given, host_name or [], as_json))
    else:
        run_guarded(lambda: _join_or_serve(root, PORT if port is None else port, as_json))


def register(app: typer.Typer, panel: str) -> None:
    app.command(rich_help_panel=panel, epilog=examples("flexcore serve", "flexcore serve --root bundle --port 0"))(
        serve
    )
    app.command(
        rich_help_panel=panel,
        epilog=examples(
            "flexcore dashboard", "flexcore dashboard --server https://windmill.example.com --workspace production"
        ),
    )(dashboard)


def _serve(root: Path, port: int, as_json: bool) -> int:
    from flexcore.panel.engine import PanelEngine
    from wmlocal.engine.engine import SIGNALS

    stopped = threading.Event()
    with PanelEngine(root, port=port, take_up=True, on_problem=lambda text: say(f"warning: {text}")) as engine:
        for number in SIGNALS:
            signal.signal(number, lambda *_: stopped.set())
        engine.serve()
        token_file = engine.home / "token"
        say(
            f"serving {engine.bundle.root} at {engine.url}, workspace {engine.workspace};"
            f" the token is in {token_file}\ndashboard: {engine.page_url}"
        )
        if as_json:
            print_json(
                {
                    "url": engine.url,
                    "dashboard": engine.page_url,
                    "workspace": engine.workspace,
                    "token_file": str(token_file),
                }
            )
            sys.stdout.flush()
        while not stopped.wait(1):
            pass
    return 0


def _join_or_serve(root: Path, port: int, as_json: bool) -> int:
    from flexcore import INSTALLED_ROOT
    from flexcore.panel.engine import KEY_PURPOSE, make_page_url
    from wmlocal.engine.bundle import is_bundle
    from wmlocal.engine.runs import default_home, sign

    bundle = INSTALLED_ROOT if root == Path() and not is_bundle(root) else root
    serving = find_serving_engine(default_home(), bundle)
    if serving is None:
        return _serve(bundle, port, as_json)
    token = (default_home() / "token").read_text(encoding="utf-8")
    address = make_page_url(serving["url"], sign(token, KEY_PURPOSE))
    if as_json:
        print_json({"url": serving["url"], "dashboard": address})
    else:
        print(address)
    return 0


def find_serving_engine(home: Path, bundle: Path) -> Row | None:
    """The engine of this user that serves the bundle's dashboard; None when there is none."""
    import httpx

    from wmlocal.engine.runs import list_engines
    from wmlocal.engine.store import Store

    if not (home / "token").is_file():
        return None
    with closing(Store(home)) as store:
        engines = [engine for engine in list_engines(store) if engine["root"] == str(bundle.resolve())]
    for engine in engines:
        try:
            answer = httpx.get(f"{engine['url']}/healthz", timeout=JOIN_TIMEOUT_S, trust_env=False)
        except httpx.HTTPError:
            continue
        if answer.status_code == 200 and answer.headers.get("content-type") == "application/json":
            return engine
    return None


def _serve_before(
    url: str, workspace: str, root: Path, listen: str, port: int, host_names: list[str], as_json: bool
) -> int:
    """The page in front of a Windmill server; without a token of its own."""
    import uvicorn

    from f.flexcore.lib.core.errors import InvalidInput
    from flexcore import INSTALLED_ROOT
    from flexcore.panel.site import read_runnables
    from flexcore.panel.windmill import make_site
    from wmlocal.engine.bundle import is_bundle

    if not url.startswith(("http://", "https://")):
        raise InvalidInput(f"--server: {url!r} is not a URL", remedy="Give the address of a Windmill server.")
    workspace = workspace or os.environ.get("WM_WORKSPACE", "")
    if not workspace:
        raise InvalidInput(f"{url} has several workspaces", subject="--workspace", remedy="Name one with --workspace.")
    bundle = INSTALLED_ROOT if root == Path() and not is_bundle(root) else root
    site = make_site(url.rstrip("/"), workspace, read_runnables(bundle), host_names)
    with listen_at(listen, port) as listener:
        address = f"http://{name_host(listen)}:{listener.getsockname()[1]}/"
        say(f"dashboard of {url}, workspace {workspace}: {address}")
        if as_json:
            print_json({"url": address.rstrip("/"), "dashboard": address, "workspace": workspace, "server": url})
            sys.stdout.flush()
        server = uvicorn.Server(uvicorn.Config(site, log_level="warning", lifespan="off", access_log=False))
        server.run(sockets=[listener])
    return 0


def name_host(listen: str) -> str:
    """How a browser here names the address; the panel refuses those that stand for all of a machine's."""
    if listen in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{listen}]" if ":" in listen else listen


def listen_at(address: str, port: int) -> socket.socket:
    """Raises BadArguments when the port cannot be used."""
    from wmlocal.engine.errors import BadArguments

    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise BadArguments(
            f"port {port} of {address} cannot be used ({error.strerror}); choose another with --port"
        ) from error
    listener.listen(128)
    return listener
