"""`flexcore workflow`: write, try, deploy, run and look after workflows, on a server or with the embedded engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flexcore import exit_codes
from flexcore.console import (
    AsJson,
    Job,
    Parameters,
    Root,
    Server,
    Workspace,
    examples,
    json_object,
    nearest_bundle,
    print_json,
    print_result,
    print_table,
    run_guarded,
    say,
)

if TYPE_CHECKING:
    from flexcore.bundle.schedules import Scheduled
    from flexcore.client.watch import Node, Watch
    from flexcore.client.windmill import Windmill
    from flexcore.commands.deploy import Options

app = typer.Typer(no_args_is_help=True, help="Create, try, deploy, run and look after workflows.")

MAX_ERROR_CHARS = 300
STYLES = {"success": "green", "failure": "bold red", "canceled": "yellow", "running": "cyan", "suspended": "yellow"}


def _find_root(context: typer.Context) -> Path:
    return nearest_bundle(Path(context.params.get("root") or ""))


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the flows of the bundle at --root."""
    from wmlocal.engine.bundle import Bundle
    from wmlocal.engine.errors import EngineError

    try:
        paths = Bundle(_find_root(context)).paths("flow")
    except EngineError:
        return []
    names = sorted({*paths, *(path.rsplit("/", 1)[-1] for path in paths)})
    return [name for name in names if name.startswith(incomplete)]


def _runtimes(incomplete: str) -> list[str]:
    from f.flexcore.lib.runtimes import RUNTIMES

    return [name for name in RUNTIMES if name.startswith(incomplete)]


def _runtimes_or_all(incomplete: str) -> list[str]:
    return [name for name in ("all", *_runtimes("")) if name.startswith(incomplete)]


Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A path (f/…), a file, or a name that is unique.", autocompletion=_names),
]
Logs = Annotated[bool, typer.Option("--logs", "--follow", "-f", help="Show the steps' logs while they run.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Logs with what the worker says: installs, its name, missing resources.")
]


@dataclass(frozen=True, slots=True)
class LogsShown:
    """Whether a run's logs are shown, and whether with what the worker says around them."""

    wanted: bool = False
    verbose: bool = False


# Running


@app.command(
    epilog=examples(
        "flexcore workflow execute singer_extraction --runtime meltano -p @request.json",
        "flexcore workflow execute f/flexcore/hybrid_pipeline --server production --detach",
    )
)
def execute(
    name: Name,
    parameters: Parameters = "{}",
    runtime: Annotated[
        str, typer.Option("--runtime", help="meltano, ray or kubernetes.", autocompletion=_runtimes)
    ] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Print the run's id and do not wait for its end.")] = False,
    logs: Logs = False,
    verbose: Verbose = False,
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Run a workflow to its end, and print its result."""
    shown = LogsShown(logs, verbose)
    run_guarded(lambda: _execute(name, parameters, runtime, detach, shown, server, workspace, root, as_json))


def _execute(
    name: str,
    parameters: str,
    runtime: str,
    detach: bool,
    logs: LogsShown,
    server: str,
    workspace: str,
    root: Path,
    as_json: bool,
) -> int:
    from f.flexcore.lib.core.errors import InvalidInput
    from f.flexcore.lib.windmill.worker_tags import warn_of_unserved_tags
    from flexcore.bundle.templates import refuse_disabled
    from flexcore.client.arguments import complete_arguments
    from flexcore.client.target import open_client
    from flexcore.client.workflows import find, normalize_name, with_runtime, with_settings

    given = json_object(parameters, "--parameters")
    with open_client(server, workspace, root) as (client, target):
        if detach and target is None:
            raise InvalidInput(
                "An embedded engine ends with this command, and its runs with it",
                subject="--detach",
                remedy="Leave `flexcore serve` running and name its URL with --server.",
            )
        workflow = find(client, normalize_name(root, name))
        given = with_settings(client, workflow, with_runtime(workflow, given, runtime))
        # What a preprocessor is given is not a form's: it makes the arguments of it, as for any request by path.
        args = given if workflow.has_preprocessor else complete_arguments(workflow.schema, given)
        refuse_disabled(root, workflow.path, [runtime] if runtime else workflow.runtimes)
        if workflow.kind == "flow":
            for warning in warn_of_unserved_tags(client, workflow.path):
                say(f"warning: {warning}")
        job = client.start(workflow.kind, workflow.path, args)
        if detach:
            print_json({"id": job}) if as_json else print(job)
            return exit_codes.DONE
        return follow_run(client, job, logs, as_json, keeps_running=target is not None)


def follow_run(client: Windmill, job: str, logs: LogsShown, as_json: bool, keeps_running: bool) -> int:
    from flexcore.client.watch import Watch

    say(f"run {job}")
    watch = Watch(client, job, logs=logs.wanted, verbose=logs.verbose)
    with _left_running(job if keeps_running else ""):
        ended = _show(watch, logs.wanted)
    if as_json:
        # As the server's result call has it: a run that was skipped is not a success, and no failure either.
        shown = {"id": job, "success": watch.root.status == "success", "result": ended.get("result")}
        print_json(shown | ({"skipped": True} if watch.root.status == "skipped" else {}))
    else:
        print_result(ended.get("result"))
    return exit_codes.of_run(ended, watch.cause())


@contextmanager
def _left_running(job: str) -> Iterator[None]:
    """Ctrl-C ends the following alone; what goes on is said. job: "" when nothing does."""
    from f.flexcore.lib.core.errors import TransientError

    try:
        yield
    except (KeyboardInterrupt, TransientError):
        if job:
            say(f"Run {job} goes on. `flexcore workflow logs {job} --follow` shows it, `… cancel {job}` ends it.")
        raise


def _show(watch: Watch, logs: bool) -> dict[str, Any]:
    from wmlocal.engine.progress import progress

    display = progress(logs=logs)
    try:
        return watch.follow(display)
    finally:
        display.close()


@app.command(
    epilog=examples(
        'flexcore workflow test singer_extraction -p \'{"tap": "oracle", "target": "postgres"}\'',
        "flexcore workflow test f/flexcore/hybrid_pipeline -p @request.json --check",
    )
)
def test(
    name: Name,
    parameters: Parameters = "{}",
    check: Annotated[bool, typer.Option("--check", help="Check files and parameters only; run nothing.")] = False,
    logs: Logs = False,
    verbose: Verbose = False,
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Try a workflow as its files are now, before it is deployed.

    The flow's own file is run as a preview. On a server the steps that it calls by path are those deployed there; with
    the embedded engine all of it is local.
    """
    shown = LogsShown(logs, verbose)
    run_guarded(lambda: _test(name, parameters, check, shown, server, workspace, root, as_json))


def _test(
    name: str, parameters: str, check: bool, logs: LogsShown, server: str, workspace: str, root: Path, as_json: bool
) -> int:
    from flexcore.client.arguments import complete_arguments
    from flexcore.client.local import local_workflow, preview
    from flexcore.client.target import open_client

    given = json_object(parameters, "--parameters")
    workflow = local_workflow(root, name)
    args = complete_arguments(workflow.schema, given)
    say(f"{workflow.path}: files and parameters are valid")
    if workflow.has_preprocessor:
        say("A preview does not run the preprocessor, on a server either: the parameters go to the steps as they are.")
    if check:
        if as_json:
            print_json({"path": workflow.path, "success": True, "parameters": sorted(args)})
        return exit_codes.DONE
    with open_client(server, workspace, root) as (client, target):
        job = preview(client, root, workflow, args)
        return follow_run(client, job, logs, as_json, keeps_running=target is not None)


# Writing and deploying


def _template_names(context: typer.Context, incomplete: str) -> list[str]:
    from f.flexcore.lib.core.errors import FlexcoreError
    from flexcore.bundle.templates import templates
    from wmlocal.engine.errors import EngineError

    try:
        return [name for name in templates(_find_root(context)) if name.startswith(incomplete)]
    except (FlexcoreError, EngineError):
        return []


@app.command(
    epilog=examples(
        "flexcore workflow create nightly --path f/sales/nightly --template hybrid_pipeline -p @defaults.json",
        "flexcore workflow create f/sales/nightly --template singer_extraction --summary 'Sales, every night'",
    )
)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A path (f/…), or a name in your one folder.")],
    template: Annotated[str, typer.Option("--template", help="A flow to begin with.", autocompletion=_template_names)],
    parameters: Annotated[str, typer.Option("--parameters", "-p", help="Defaults of its form: JSON or @file.")] = "{}",
    path: Annotated[str, typer.Option("--path", help="Where it goes: f/sales/nightly, or a folder f/sales.")] = "",
    summary: Annotated[str, typer.Option("--summary", help="What people see in lists.")] = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Write a new workflow into your own folder, from a template of the bundle."""
    run_guarded(lambda: _create(name, template, parameters, path, summary, root, as_json))


def _create(name: str, template: str, parameters: str, path: str, summary: str, root: Path, as_json: bool) -> int:
    from flexcore.bundle.templates import create as create_flow

    created = create_flow(root, name, template, json_object(parameters, "--parameters"), summary, path)
    if as_json:
        print_json({"path": created.path, "file": str(created.file), "left_to_do": created.notes})
    else:
        print(created.file)
    for note in created.notes:
        say(note)
    say(f"Try it with `flexcore workflow test {created.path}`, then `flexcore workflow deploy`.")
    return exit_codes.DONE


@app.command(
    epilog=examples(
        "flexcore workflow schedule nightly_sales --cron '0 0 3 * * *' --timezone Europe/Berlin -p @request.json",
        "flexcore workflow schedule singer_extraction && flexcore workflow deploy",
    )
)
def schedule(
    name: Name,
    cron: Annotated[str, typer.Option("--cron", help="When, seconds first; else as its schedule says.")] = "",
    timezone: Annotated[str, typer.Option("--timezone", help="Such as Europe/Berlin; UTC for a new schedule.")] = "",
    parameters: Parameters = "{}",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Switch a workflow's schedule on in the bundle, or write one; a deploy brings it to the server."""
    run_guarded(lambda: _schedule(name, cron, timezone, parameters, root, as_json))


def _schedule(name: str, cron: str, timezone: str, parameters: str, root: Path, as_json: bool) -> int:
    from flexcore.bundle.schedules import switch_on

    return _show_schedules([switch_on(root, name, cron, timezone, json_object(parameters, "--parameters"))], as_json)


@app.command(epilog=examples("flexcore workflow unschedule singer_extraction && flexcore workflow deploy"))
def unschedule(name: Name, root: Root = Path(), as_json: AsJson = False) -> None:
    """Switch every schedule of a workflow off in the bundle; a deploy brings it to the server."""
    run_guarded(lambda: _unschedule(name, root, as_json))


def _unschedule(name: str, root: Path, as_json: bool) -> int:
    from flexcore.bundle.schedules import switch_off

    return _show_schedules(switch_off(root, name), as_json)


def _show_schedules(found: list[Scheduled], as_json: bool) -> int:
    if as_json:
        from dataclasses import asdict

        print_json([asdict(item) for item in found])
    else:
        rows = [(item.file, "on" if item.enabled else "off", item.schedule, item.timezone) for item in found]
        print_table(("SCHEDULE", "STATE", "WHEN", "TIME ZONE"), rows, STYLES)
    say("`flexcore workflow deploy` brings this to the server; `flexcore up` follows it at once.")
    return exit_codes.DONE


@app.command(
    epilog=examples(
        "flexcore workflow deploy --dry-run",
        "flexcore workflow deploy --check --server production",
        "flexcore workflow deploy --server production --yes",
        "flexcore workflow deploy --prune",
    )
)
def deploy(
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only tell how files and workspace differ, and who changed it; exit code 1 when they do."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every change, however many.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what the workspace holds of former versions, below f/flexcore/.")
    ] = False,
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Check the bundle, show what would change on the server, and push it with `wmill sync push`."""
    from flexcore.commands.deploy import Options

    options = Options(dry_run=dry_run, yes=yes, as_json=as_json, verbose=verbose, prune=prune)
    if check:
        run_guarded(lambda: _check_drift(server, workspace, root, as_json))
    run_guarded(lambda: _deploy(options, server, workspace, root))


def _check_drift(server: str, workspace: str, root: Path, as_json: bool) -> int:
    from flexcore.client.target import open_client
    from flexcore.commands.deploy import require_server
    from flexcore.commands.drift import check_drift

    with open_client(server, workspace, root) as (client, target):
        return check_drift(client, require_server(target), root, as_json)


def _deploy(options: Options, server: str, workspace: str, root: Path) -> int:
    from flexcore.client.target import open_client
    from flexcore.commands.deploy import deploy_bundle

    with open_client(server, workspace, root) as (client, target):
        return deploy_bundle(client, target, root, options)


# Looking


@app.command(
    "list",
    epilog=examples(
        "flexcore workflow list --runtime all", "flexcore workflow list --runtime ray --executions --limit 5"
    ),
)
def list_(
    runtime: Annotated[
        str, typer.Option("--runtime", help="all, meltano, ray or kubernetes.", autocompletion=_runtimes_or_all)
    ] = "all",
    executions: Annotated[bool, typer.Option("--executions", help="List runs, newest first.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many runs at most.")] = 20,
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """List workflows with the runtimes they use, or their executions."""
    run_guarded(lambda: _list(runtime, executions, limit, server, workspace, root, as_json))


def _list(runtime: str, executions: bool, limit: int, server: str, workspace: str, root: Path, as_json: bool) -> int:
    from flexcore.client.target import open_client
    from flexcore.client.workflows import every, known_runtime

    wanted = "" if runtime == "all" else known_runtime(runtime)
    with open_client(server, workspace, root, starts_runs=False) as (client, _):
        workflows = [item for item in every(client) if not wanted or wanted in item.runtimes]
        if executions:
            from flexcore.client.executions import latest

            return _print_executions(
                latest(client, limit, {item.path for item in workflows} if wanted else None), as_json
            )
    if as_json:
        print_json([item.as_json() for item in workflows])
    else:
        # What nobody starts by hand stays out of the table.
        shown = [item for item in workflows if not item.summary.startswith("Internal: ")]
        rows = [(item.path, ", ".join(item.runtimes) or "—", item.summary) for item in shown]
        print_table(("WORKFLOW", "RUNTIMES", "SUMMARY"), rows)
    return exit_codes.DONE


def _print_executions(found: list[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        print_json(found)
        return exit_codes.DONE
    rows = [
        (item["id"], item["workflow"], item["status"], item["started_at"], seconds(item["seconds"])) for item in found
    ]
    print_table(("ID", "WORKFLOW", "STATUS", "STARTED", "TIME"), rows, STYLES)
    return exit_codes.DONE


@app.command(epilog=examples("flexcore workflow status 01a20e75-212b-97df-32ea-8e83121f6df4 --json"))
def status(
    job: Job, server: Server = "", workspace: Workspace = "", root: Root = Path(), as_json: AsJson = False
) -> None:
    """Show the status of a run, step by step."""
    run_guarded(lambda: _status(job, server, workspace, root, as_json))


def _status(given: str, server: str, workspace: str, root: Path, as_json: bool) -> int:
    from flexcore.client.executions import as_plain, complete_id
    from flexcore.client.target import open_client
    from flexcore.client.watch import Watch, error_text

    with open_client(server, workspace, root, starts_runs=False) as (client, _):
        watch = Watch(client, complete_id(client, given))
        watch.poll()
    if as_json:
        print_json(as_plain(watch.root))
    else:
        rows = [
            (
                "  " * node.depth + (node.step or node.path or "(preview)"),
                node.status,
                seconds(node.seconds),
                node.job,
                error_text(node.shown)[:MAX_ERROR_CHARS] if node.status == "failure" else "",
            )
            for node in _flat(watch.root)
        ]
        print_table(("STEP", "STATUS", "TIME", "JOB", "ERROR"), rows, STYLES)
    return exit_codes.DONE


def _flat(node: Node) -> list[Node]:
    return [node, *(below for child in node.children.values() for below in _flat(child))]


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


@app.command(
    epilog=examples("flexcore workflow logs 01a20e75 --follow", "flexcore workflow logs 01a20e75 --json | jq -r .text")
)
def logs(
    job: Job,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    verbose: Verbose = False,
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Print what a job and its steps have logged. With --json: a line {"id", "step", "path", "text"} for each piece.

    With --follow the exit code is that of the run.
    """
    run_guarded(lambda: _logs(job, follow, verbose, server, workspace, root, as_json))


def _logs(given: str, follow: bool, verbose: bool, server: str, workspace: str, root: Path, as_json: bool) -> int:
    from flexcore.client.executions import complete_id
    from flexcore.client.target import open_client
    from flexcore.client.watch import Watch
    from wmlocal.engine.jobs import Event

    def write(event: Event) -> None:
        if event.kind == "log":
            piece = {"id": event.job, "step": event.step_id, "path": event.path, "text": event.message}
            print_json(piece) if as_json else sys.stdout.write(event.message)
            sys.stdout.flush()

    with open_client(server, workspace, root, starts_runs=False) as (client, _):
        job = complete_id(client, given)
        watch = Watch(client, job, logs=True, verbose=verbose)
        if follow:
            with _left_running(job):
                ended = watch.follow(write)
            return exit_codes.of_run(ended, watch.cause())
        for event in watch.poll():
            write(event)
    return exit_codes.DONE


@app.command(epilog=examples("flexcore workflow cancel 01a20e75 --reason 'wrong table'"))
def cancel(
    job: Job,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the run.")] = "flexcore workflow cancel",
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Cancel a run and everything below it."""
    run_guarded(lambda: _cancel(job, reason, server, workspace, root, as_json))


def _cancel(given: str, reason: str, server: str, workspace: str, root: Path, as_json: bool) -> int:
    from flexcore.client.executions import cancel as cancel_run
    from flexcore.client.target import open_client

    with open_client(server, workspace, root, starts_runs=False) as (client, _):
        job = cancel_run(client, given, reason)
    if as_json:
        print_json({"id": job, "canceled": True})
    say(f"canceled {job}; what it started on a runtime is stopped by the next pass of reconcile")
    return exit_codes.DONE
