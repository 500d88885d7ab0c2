"""`flexcore runtime`: what there is to run work on, how it is, and what it can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flexcore import exit_codes
from flexcore.console import AsJson, Root, Server, Workspace, examples, print_json, print_table, run_guarded, say

app = typer.Typer(no_args_is_help=True, help="The runtimes: Meltano, Ray, Kubernetes.")

SETTINGS = "f/flexcore/settings"
Settings = Annotated[
    str, typer.Option("--settings", help=f"Path of a c_flexcore_settings, or @file; else {SETTINGS}, if it is there.")
]
STYLES = {
    "ready": "green",
    "limited": "yellow",
    "refuses": "yellow",
    "not known": "yellow",
    "down": "bold red",
    "unreachable": "bold red",
}
CLUSTER_HEAD = ("CLUSTER", "STATE", "PLACE", "CPUS FREE", "JOBS", "MODELS", "LAST CONTACT", "DETAIL")
WORK_HEAD = ("CLUSTER", "WORK", "STATE", "VERSION", "PLACED", "LAST CONTACT", "DEADLINE THERE")


@app.command("list", epilog=examples("flexcore runtime list --json"))
def list_(root: Root = Path(), as_json: AsJson = False) -> None:
    """List the runtimes that the bundle knows, with what flexcore.yaml says of them."""
    run_guarded(lambda: _list(root, as_json))


def _list(root: Path, as_json: bool) -> int:
    from flexcore.client.runtimes import configured_runtimes

    found = configured_runtimes(root)
    if as_json:
        print_json(found)
    else:
        rows = [(item["runtime"], "yes" if item["enabled"] else "no", item["priority"], item["runs"]) for item in found]
        print_table(("RUNTIME", "ENABLED", "PRIORITY", "RUNS"), rows)
    return exit_codes.DONE


@app.command(
    epilog=examples("flexcore runtime health", "flexcore runtime health --settings f/data/settings --server production")
)
def health(
    settings: Settings = "",
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Ask every runtime that the settings name how it is. Exit code 1 when one is down."""
    run_guarded(lambda: _health(settings, server, workspace, root, as_json))


def _health(settings: str, server: str, workspace: str, root: Path, as_json: bool) -> int:
    found = _measure(settings, server, workspace, root)
    if as_json:
        print_json(found)
    else:
        rows = [
            (
                *(item[name] for name in ("runtime", "place", "state", "version")),
                _free(item),
                item["queue"],
                item["detail"],
            )
            for item in found
        ]
        print_table(("RUNTIME", "PLACE", "STATE", "VERSION", "CPUS FREE", "QUEUE", "DETAIL"), rows, STYLES)
    return exit_codes.FAILED if any(item["state"] == "down" for item in found) else exit_codes.DONE


def _free(item: dict[str, Any]) -> str:
    return "" if item["cpus_free"] is None else f"{item['cpus_free']:g} of {item['cpus_total'] or 0:g}"


@app.command(epilog=examples("flexcore runtime capabilities --json"))
def capabilities(
    settings: Settings = "",
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Show what every runtime that the settings name says it can do."""
    run_guarded(lambda: _capabilities(settings, server, workspace, root, as_json))


def _capabilities(settings: str, server: str, workspace: str, root: Path, as_json: bool) -> int:
    found = _measure(settings, server, workspace, root)
    if as_json:
        print_json([{name: item[name] for name in ("runtime", "place", "state", "capabilities")} for item in found])
        return exit_codes.DONE
    rows = [
        (item["runtime"], item["place"], name, value)
        for item in found
        for name, value in (item["capabilities"] or {"not measured": item["detail"]}).items()
    ]
    print_table(("RUNTIME", "PLACE", "CAPABILITY", "VALUE"), rows)
    return exit_codes.DONE


@app.command(
    epilog=examples("flexcore runtime clusters", "flexcore runtime clusters --settings f/data/settings --json")
)
def clusters(
    settings: Settings = "",
    server: Server = "",
    workspace: Workspace = "",
    root: Root = Path(),
    as_json: AsJson = False,
) -> None:
    """Show every Kubernetes cluster that the settings name, and our work there. Exit code 1 when one is not ready."""
    run_guarded(lambda: _clusters(settings, server, workspace, root, as_json))


def _clusters(settings: str, server: str, workspace: str, root: Path, as_json: bool) -> int:
    from flexcore.client.runtimes import measure_clusters
    from flexcore.client.target import open_client

    with open_client(server, workspace, root) as (client, _):
        found = measure_clusters(client, settings, SETTINGS, say)
    if as_json:
        print_json(found)
    else:
        print_table(CLUSTER_HEAD, [_cluster_row(item) for item in found["clusters"]], STYLES)
        if found["work"]:
            print()
            print_table(WORK_HEAD, [_work_row(item) for item in found["work"]], STYLES)
    return exit_codes.FAILED if any(item["state"] != "ready" for item in found["clusters"]) else exit_codes.DONE


def _cluster_row(item: dict[str, Any]) -> tuple[Any, ...]:
    from f.flexcore.lib.views.cluster_pages import format_time

    free = "" if item["free_cpus"] is None else f"{item['free_cpus']:g} of {item['cpus']:g}"
    place = "/".join(filter(None, (item["cloud"], item["region"])))
    names = (item[name] for name in ("running_jobs", "models"))
    return item["cluster"], item["state"], place, free, *names, format_time(item["last_contact"]), item["detail"]


def _work_row(item: dict[str, Any]) -> tuple[Any, ...]:
    from f.flexcore.lib.views.cluster_pages import format_deadline, format_time

    name = f"{item['kind']} {item['namespace']}/{item['name']}"
    ends = (format_time(item["last_contact"]), format_deadline(item))
    return item["cluster"], name, item["state"], item["version"], item["placed"], *ends


def _measure(settings: str, server: str, workspace: str, root: Path) -> list[dict[str, Any]]:
    from flexcore.client.runtimes import measure_runtimes
    from flexcore.client.target import open_client

    with open_client(server, workspace, root) as (client, _):
        return measure_runtimes(client, settings, SETTINGS, say)
