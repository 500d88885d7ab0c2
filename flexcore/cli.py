"""The command line. Each command imports what it needs when it runs, so that `flexcore --help` is quick.

The groups are in `commands/`; here are the short verbs of the embedded engine. Exit codes: exit_codes.py.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from flexcore.commands import config, runtime, workflow
from flexcore.console import AsJson, Root, Server, Workspace, guarded, json_object
from flexcore.exit_codes import FAILED

EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 change the request or the settings, 3 try again later, 4 too late, 5 canceled."
)
app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES,
    help="Pipelines across Meltano, Ray and Kubernetes, on a Windmill server or on this machine.",
)
app.add_typer(workflow.app, name="workflow")
app.add_typer(runtime.app, name="runtime")
app.add_typer(config.app, name="config")


@app.command()
def run(
    path: Annotated[str, typer.Argument(help="Script or flow: f/x/y, or its file.")],
    root: Root = Path(),
    args: Annotated[str, typer.Option("--args", help="JSON object, or @file.")] = "{}",
    as_json: AsJson = False,
) -> None:
    """Run a script or a flow to its end."""
    guarded(lambda: _run(path, root, json_object(args, "--args"), as_json))


@app.command()
def recover(
    job: Annotated[str, typer.Argument(metavar="ID", help="A run whose engine died; a unique beginning will do.")],
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Take a run up again where it was when its engine died, to its end."""
    guarded(lambda: _to_the_end(root, as_json, lambda engine: engine.recover(_find(engine.store, job)["id"])))


def _run(path: str, root: Path, args: dict[str, Any], as_json: bool) -> int:
    return _to_the_end(root, as_json, lambda engine: engine.start(path, args))


def _to_the_end(root: Path, as_json: bool, start: Callable[[Any], Any]) -> int:
    from flexcore.engine.engine import Engine
    from flexcore.engine.progress import progress

    shown = progress()
    try:
        with Engine(root, on_event=shown) as engine, engine.handling_signals():
            done = engine.wait(start(engine))
    finally:
        shown.close()
    if as_json:
        print(json.dumps(done.as_json()))
    else:
        print(f"job {done.id}", file=sys.stderr)
        print(json.dumps(done.result, indent=2, ensure_ascii=False))
    return 0 if done.success else FAILED


@app.command()
def runs(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest runs."""
    guarded(lambda: _runs(limit, as_json))


def _runs(limit: int, as_json: bool) -> int:
    columns = ("id", "path", "kind", "status", "created", "started", "finished", "labels")
    listed = _store().jobs("parent IS NULL", limit=limit, columns=columns)
    if as_json:
        print(json.dumps(listed))
        return 0
    for job in listed:
        begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["created"]))
        seconds = f"{job['finished'] - (job['started'] or job['created']):.1f} s" if job["finished"] else ""
        print(f"{job['id']}  {begun}  {job['status']:<9} {seconds:>9}  {job['path'] or '(preview)'}")
    return 0


@app.command()
def logs(
    job: Annotated[str, typer.Argument(metavar="ID", help="A run or one of its steps; a unique beginning will do.")],
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job ends.")] = False,
) -> None:
    """Print the log of a job and of everything below it."""
    guarded(lambda: _logs(job, follow))


def _logs(given: str, follow: bool) -> int:
    from flexcore.engine.store import LIVE

    store = _store()
    job = _find(store, given)["id"]
    seen = 0
    while True:
        live = (store.job_status(job) or {}).get("status") in LIVE
        for row in store.logs_after(store.descendants(job), seen):
            seen = row["seq"]
            sys.stdout.write(row["text"])
        sys.stdout.flush()
        if not (follow and live):
            return 0
        time.sleep(0.2)


@app.command()
def cancel(job: Annotated[str, typer.Argument(metavar="ID", help="A run or one of its steps.")]) -> None:
    """Cancel a job and everything below it."""
    guarded(lambda: _cancel(job))


def _cancel(given: str) -> int:
    import httpx

    from flexcore.engine.errors import UnknownPath
    from flexcore.engine.store import LIVE

    store = _store()
    job = _find(store, given)
    if job["status"] not in LIVE:
        raise UnknownPath(f"job {job['id']} has ended already ({job['status']}); nothing to cancel")
    engine = next((engine for engine in store.engines() if engine["id"] == job["engine"]), None)
    token = (store.home / "token").read_text(encoding="utf-8")
    try:
        if engine is None:
            raise httpx.ConnectError("no engine")
        httpx.post(
            f"{engine['url']}/api/w/local/jobs_u/queue/cancel/{job['id']}",
            json={"reason": "flexcore cancel"},
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
            trust_env=False,
        ).raise_for_status()
    except httpx.HTTPError:
        raise UnknownPath(
            f"the engine of job {job['id']} does not answer; it has likely ended, and the next run says so"
        ) from None
    print(f"canceled {job['id']}", file=sys.stderr)
    return 0


@app.command()
def serve(
    root: Root = Path(),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On loopback.")] = 8765,
) -> None:
    """Serve the engine with Windmill's REST API on loopback, until Ctrl-C."""
    guarded(lambda: _serve(root, port))


def _serve(root: Path, port: int) -> int:
    import signal
    import threading

    from flexcore.engine.engine import SIGNALS, Engine

    stopped = threading.Event()
    with Engine(root, port=port, take_up=True) as engine:
        for number in SIGNALS:
            signal.signal(number, lambda *_: stopped.set())
        engine.serve()
        print(f"serving {engine.bundle.root} at {engine.url}, workspace {engine.workspace};"
              f" the token is in {engine.home / 'token'}", file=sys.stderr, flush=True)  # fmt: skip
        while not stopped.wait(1):
            pass
    return 0


@app.command()
def check(
    root: Root = Path(),
    as_json: AsJson = False,
    fail_on_warn: Annotated[bool, typer.Option("--fail-on-warn", help="Warnings count as findings.")] = False,
) -> None:
    """Find the defects of a bundle that `wmill lint` lets pass (exit code 1: findings, 2: could not run)."""
    from flexcore.check.command import run as check_and_print

    raise typer.Exit(check_and_print(root, as_json, fail_on_warn))


@app.command()
def metadata(
    paths: Annotated[list[str] | None, typer.Argument(help="Folders or scripts; all that is stale when none.")] = None,
    root: Root = Path(),
    python: Annotated[str, typer.Option("--python", help="Of scripts whose head names none.")] = "3.12",
    schema_only: Annotated[bool, typer.Option("--schema-only", help="Leave locks as they are.")] = False,
    lock_only: Annotated[bool, typer.Option("--lock-only", help="Leave schemas as they are.")] = False,
) -> None:
    """Write schemas, locks and hashes as `wmill generate-metadata` does, without a server."""
    from flexcore.metadata.command import run as write

    options = (*(("--schema-only",) if schema_only else ()), *(("--lock-only",) if lock_only else ()))
    raise typer.Exit(write(paths or [], root, python, options))


def _store() -> Any:
    from flexcore.engine.engine import default_home
    from flexcore.engine.store import Store

    return Store(default_home())


def _find(store: Any, given: str) -> dict[str, Any]:
    from flexcore.engine.errors import UnknownPath

    pattern = given.replace("%", "").replace("_", "") + "%"
    found = store.jobs("id LIKE ?", [pattern], limit=2, columns=("id", "status", "engine"))
    if len(found) != 1:
        what = "no job" if not found else "more than one job"
        raise UnknownPath(f"{what} has an id that begins with {given}; `flexcore runs` lists the runs")
    return dict(found[0])


History = Annotated[Path, typer.Option("--history", help="Finished runs: one JSON object per line.")]


@app.command("select")
def select_(
    workload: Annotated[Path, typer.Option("--workload", help="One workload as JSON, or one per line.")],
    history: History | None = None,
    forecast: Annotated[Path | None, typer.Option("--forecast", help="Instead: what operations/learn stored.")] = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="Runtimes, prices and limits as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose the runtime of each workload, and say why."""
    from flexcore.selection_commands import select_command

    guarded(lambda: select_command(workload, history, forecast, settings, as_json))


@app.command("compare")
def compare_(
    history: History,
    workflow_type: Annotated[str, typer.Option("--workflow-type", help="The type of workflow to compare.")],
    since: Annotated[datetime | None, typer.Option("--since", help="Runs that began then or later (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Runs that began before (UTC).")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare how the runtimes did at one type of workflow."""
    from flexcore.selection_commands import compare_command

    guarded(lambda: compare_command(history, workflow_type, since, until, as_json))


@app.command()
def plan(
    path: Annotated[str, typer.Argument(help="A flow whose form has explain_only, e.g. f/flexcore/data_pipeline.")],
    args: Annotated[str, typer.Option("--args", help="JSON object, or @file.")] = "{}",
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Say which runtime a flow would choose, why, and at what price, and ask the services; nothing is run."""
    from flexcore.plan_command import plan_command

    guarded(lambda: plan_command(path, json_object(args, "--args"), server, workspace, root, as_json))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def demo(context: typer.Context) -> None:
    """Run the whole pipeline on real flight data (see `flexcore demo --help`)."""
    from flexcore.demo import demo as show

    sys.argv = ["flexcore demo", *context.args]
    typer.run(show)
