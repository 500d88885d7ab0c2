"""The command line. Each command imports what it needs when it runs, so that `flexcore --help` is quick.

The groups are in `commands/`; here is what belongs to none of them. Exit codes: exit_codes.py.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from flexcore.commands import bundle, config, dashboard, kubernetes, runtime, up, workflow
from flexcore.console import (
    EXIT_CODES,
    AsJson,
    Job,
    Parameters,
    Root,
    Server,
    Workspace,
    examples,
    json_object,
    run_guarded,
)
from flexcore.help_page import SectionedGroup

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    cls=SectionedGroup,
    no_args_is_help=True,
    context_settings=HELP,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EXIT_CODES,
    help="Pipelines across Meltano, Ray and Kubernetes, on a Windmill server or on this machine.",
)
app.add_typer(workflow.app, name="workflow", cls=SectionedGroup)
app.add_typer(runtime.app, name="runtime", cls=SectionedGroup)
app.add_typer(kubernetes.app, name="kubernetes", cls=SectionedGroup)
app.add_typer(config.app, name="config", cls=SectionedGroup)


LOCAL, BUNDLE, CHOICE = "On this machine", "The bundle's files", "Choosing a runtime"
up.register(app, LOCAL)
dashboard.register(app, LOCAL)
bundle.register(app, BUNDLE)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"flexcore {version('flexcore')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command(rich_help_panel=LOCAL, epilog=examples("flexcore recover 01a20e75"))
def recover(job: Job, root: Root = Path(), as_json: AsJson = False) -> None:
    """Resume a run whose embedded engine died, and follow it to its end."""
    run_guarded(lambda: _recover(job, root, as_json))


def _recover(given: str, root: Path, as_json: bool) -> int:
    from flexcore.client.executions import complete_id
    from flexcore.client.target import open_embedded

    with open_embedded(root) as (client, engine):
        job = engine.recover(complete_id(client, given)).id
        return workflow.follow_run(client, job, workflow.LogsShown(), as_json=as_json, keeps_running=False)


@app.command(
    rich_help_panel=LOCAL,
    epilog=examples(
        "flexcore doctor --server embedded", "flexcore doctor --server production --settings f/data/settings"
    ),
)
def doctor(
    settings: runtime.Settings = "",
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Look at this machine, the server and the runtimes: one table, each line with its remedy.

    Exit code 1 when something that is needed is missing."""
    from flexcore.commands.doctor import doctor_command

    run_guarded(lambda: doctor_command(settings, server, workspace, root, as_json))


@app.command(
    "debug-bundle",
    rich_help_panel=LOCAL,
    epilog=examples("flexcore debug-bundle 01a20e75", "flexcore debug-bundle 01a20e75 --server production -o /tmp"),
)
def debug_bundle(
    job: Job,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder or file to write.")] = Path(),
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Save what explains one run as a ZIP file without secrets: jobs, logs, requests, results, versions, runtimes."""
    from flexcore.commands.debug_bundle import debug_bundle_command

    run_guarded(lambda: debug_bundle_command(job, output, server, workspace, root, as_json))


@app.command(
    rich_help_panel=BUNDLE,
    epilog=examples("flexcore check", "flexcore check --root bundle --json --fail-on-warn", codes=""),
)
def check(
    root: Root = Path(),
    as_json: AsJson = False,
    fail_on_warn: Annotated[bool, typer.Option("--fail-on-warn", help="Warnings count as findings.")] = False,
) -> None:
    """Find defects in a bundle that `wmill lint` misses (exit code 1: findings, 2: could not run)."""
    from flexcore.rules import find_problems
    from wmlocal.lint.command import run as check_and_print

    raise typer.Exit(check_and_print(root, as_json, fail_on_warn, find_problems))


@app.command(
    rich_help_panel=BUNDLE, epilog=examples("flexcore metadata", "flexcore metadata f/sales --schema-only", codes="")
)
def metadata(
    paths: Annotated[list[str] | None, typer.Argument(help="Folders or scripts; all that is stale when none.")] = None,
    root: Root = Path(),
    python: Annotated[str, typer.Option("--python", help="Of scripts whose head names none.")] = "3.12",
    schema_only: Annotated[bool, typer.Option("--schema-only", help="Leave locks as they are.")] = False,
    lock_only: Annotated[bool, typer.Option("--lock-only", help="Leave schemas as they are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write schemas, locks and hashes as `wmill generate-metadata` does, without a server."""
    from wmlocal.metadata.command import run as write

    options = (*(("--schema-only",) if schema_only else ()), *(("--lock-only",) if lock_only else ()))
    raise typer.Exit(write(paths or [], root, python, options, as_json))


History = Annotated[Path, typer.Option("--history", help="Finished runs: one JSON object per line.")]


@app.command(
    "select",
    rich_help_panel=CHOICE,
    epilog=examples(
        "flexcore select --workload workload.json",
        "flexcore select --workload w.jsonl --history h.jsonl --settings settings.json --json",
    ),
)
def select_(
    workload: Annotated[Path, typer.Option("--workload", help="One workload as JSON, or one per line.")],
    history: History | None = None,
    forecast: Annotated[Path | None, typer.Option("--forecast", help="Instead: what operations/learn stored.")] = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="Runtimes, prices and limits as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Choose the runtime of each workload, and say why."""
    from flexcore.commands.selection import select_command

    run_guarded(lambda: select_command(workload, history, forecast, settings, as_json))


@app.command(
    "compare",
    rich_help_panel=CHOICE,
    epilog=examples("flexcore compare --history h.jsonl --workflow-type sync --since 2026-01-01 --json"),
)
def compare_(
    history: History,
    workflow_type: Annotated[str, typer.Option("--workflow-type", help="The type of workflow to compare.")],
    since: Annotated[datetime | None, typer.Option("--since", help="Runs that began then or later (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Runs that began before (UTC).")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare how the runtimes did at one type of workflow."""
    from flexcore.commands.selection import compare_command

    run_guarded(lambda: compare_command(history, workflow_type, since, until, as_json))


@app.command(
    rich_help_panel=CHOICE,
    epilog=examples(
        "flexcore plan f/flexcore/data_pipeline --args @request.json",
        "flexcore plan data_pipeline --args @request.json --server production --json",
    ),
)
def plan(
    path: Annotated[str, typer.Argument(help="A flow whose form has explain_only, e.g. f/flexcore/data_pipeline.")],
    args: Parameters = "{}",
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Say which runtime a flow would choose, why, and at what price, and ask the services; nothing is run."""
    from flexcore.commands.plan import plan_command

    run_guarded(lambda: plan_command(path, json_object(args, "--args"), server, workspace, root, as_json))


@app.command(
    rich_help_panel=LOCAL,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def demo(context: typer.Context) -> None:
    """Run the whole pipeline on real flight data (see `flexcore demo --help`)."""
    from flexcore.commands.demo import demo as show

    command = typer.Typer(context_settings=HELP, pretty_exceptions_enable=False, rich_markup_mode=None)
    command.command()(show)
    command(context.args, prog_name="flexcore demo")
