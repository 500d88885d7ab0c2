"""The flow `f/flexcore/benchmark_runtimes` on this machine alone: a PostgreSQL, a Ray head and the local engine.

    uv run python -m bench.runtimes [--rows 2000000] [--repeats 3] [--tables narrow wide lineitem]
        [--works extract load] [--tap tap-postgres] [--table-target target-postgres]
        [--svg docs/benchmark.svg] [--json FILE] [--no-ray] [--no-meltano]

Prints the standings, and whether the bars hold: out of PostgreSQL, Ray at least 25 times Meltano's rows/s and at least
half of the reference's, on the same table; into PostgreSQL at least 15 times Meltano's. Exit code 1 when one does not.
Ray and the reference share this machine's cores with the database: look at ratios, not at rows/s.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from f.flexcore.lib.views import benchmark_pages, html
from flexcore.ray_head import RayHead
from tests.pipeline.postgres_server import PostgresServer
from wmlocal.engine.engine import Engine, default_home
from wmlocal.engine.progress import progress

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "resources/benchmark_project"
# (work, of what, at least): issue and docs/benchmark.md name them.
BARS = (("extract", "to_meltano", 25.0), ("extract", "to_reference", 0.5), ("load", "to_meltano", 15.0))
# Whose taps take a list of schemas as a text.
PIPELINEWISE = "pipelinewise"
Plain = dict[str, Any]


def race(options: argparse.Namespace) -> Plain:
    """The plain data of the race's page. Raises SystemExit when the flow fails."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(PostgresServer())
        form = build_form(options, server.resource, folder)
        if not options.no_ray:
            form["cluster"] = stack.enter_context(RayHead(folder / "ray")).resource
        events = progress()
        stack.callback(events.close)
        engine = stack.enter_context(Engine(ROOT, default_home(), on_event=events))
        stack.enter_context(engine.handling_signals())
        done = engine.run("f/flexcore/benchmark_runtimes", form)
    if not done.success:
        raise SystemExit(json.dumps(done.result, indent=1))
    found: Plain = done.result["render_all"][1]
    return found


def build_form(options: argparse.Namespace, database: Plain, folder: Path) -> Plain:
    one_schema = "filter_schemas={schema}" if PIPELINEWISE in options.tap else 'filter_schemas=["{schema}"]'
    return {
        "database": database,
        "project": None if options.no_meltano else {"path": str(PROJECT)},
        "works": options.works,
        "tables": options.tables,
        "rows": options.rows,
        "repeats": options.repeats,
        "tap": options.tap,
        "tap_config": [one_schema],
        "table_target": options.table_target,
        "settings": {"storage_uri": f"file://{folder}/store"},
    }


def check_bars(standings: list[Plain]) -> list[tuple[str, float, float | None]]:
    """(what, at least, median that was measured) for each bar on each table."""
    return [
        (f"{work} {item['table']}: ray {ratio}", bar, item[ratio]["median"])
        for work, ratio, bar in BARS
        for item in standings
        if (item["work"], item["runtime"]) == (work, "ray")
    ]


def report(found: Plain) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*benchmark_pages.HEAD, title=benchmark_pages.describe_race(found))
    for item in found["standings"]:
        table.add_row(*benchmark_pages.format_standing(item))
    Console(width=180).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tables", nargs="+", default=["narrow", "wide", "lineitem"])
    parser.add_argument("--works", nargs="+", default=["extract", "load"])
    parser.add_argument("--tap", default="tap-postgres")
    parser.add_argument("--table-target", default="target-postgres")
    parser.add_argument("--svg", type=Path, help="where to write the chart")
    parser.add_argument("--json", type=Path, help="where to write all that was measured")
    parser.add_argument("--no-ray", action="store_true")
    parser.add_argument("--no-meltano", action="store_true", help="2 million rows take it minutes, and Ray seconds")
    found = race(options := parser.parse_args())
    report(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(benchmark_pages.draw_chart(found["standings"]) + "\n")
    missed = False
    for what, bar, median in check_bars(found["standings"]):
        missed |= median is None or median < bar
        print(f"{what}: {html.UNKNOWN if median is None else f'{median:.3g}'} (at least {bar:g})")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
