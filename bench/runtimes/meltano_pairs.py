"""Bare `meltano run` of the pairs of tap and target that PyPI has for PostgreSQL, in turns on the same table.

    uv run python -m bench.runtimes.meltano_pairs [--rows 100000] [--table narrow] [--turns 3] [--json]

To files and into PostgreSQL; each output's rows are compared with the source. Prints rows/s of the whole command, its
start included, as median and range, and which pair is the fastest of each kind. target-parquet 0.0.1, the only target
on PyPI that writes Parquet to a folder, cannot be installed on Python 3.11 (it wants pandas 0.24).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from f.flexcore.lib.benchmark import database, fingerprint, outputs, reference, results, tables
from f.flexcore.lib.core import contracts, errors
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.meltano.extraction import RUN
from f.flexcore.lib.meltano.installation import base_environment, meltano_command
from f.flexcore.lib.meltano.plugin_environments import link_environments
from f.flexcore.lib.meltano.preparation import prepare
from f.flexcore.lib.storage.object_store import Store
from tests.pipeline.postgres_server import PostgresServer

PROJECT = Path(__file__).resolve().parents[2] / "resources/benchmark_project"
SCHEMA, LOADED = "flexcore_benchmark_pairs", "flexcore_benchmark_pairs_loaded"
SDK, PIPELINEWISE = "tap-postgres", "tap-postgres-pipelinewise"


@dataclass(frozen=True, slots=True)
class Pair:
    tap: str
    target: str

    @property
    def name(self) -> str:
        return f"{self.tap} → {self.target}"

    @property
    def is_load(self) -> bool:
        return self.target != "target-jsonl"


PAIRS = [
    Pair(tap, target)
    for target in ("target-jsonl", "target-postgres", "target-postgres-pipelinewise")
    for tap in (SDK, PIPELINEWISE)
]


@dataclass(slots=True)
class Bench:
    """server: a `postgresql` resource; folder: for outputs, logs, and links to the plugins' environments."""

    server: dict[str, Any]
    folder: Path
    table: tables.TableName
    source: results.Marks

    def run(self, pair: Pair) -> tuple[float, str]:
        """(seconds of the command, how its output differs from the source)"""
        with database.open_session(self.server) as connection:
            database.drop_table(connection, LOADED, self.table)
        output = Path(tempfile.mkdtemp(dir=self.folder))
        command = [str(meltano_command()), "run", "--no-install", "--full-refresh", pair.tap, pair.target]
        started = time.monotonic()
        done = subprocess.run(command, env=self.environment(pair, output), cwd=PROJECT, capture_output=True, text=True)
        seconds = time.monotonic() - started
        if done.returncode:
            return seconds, f"failed: {done.stderr.strip().splitlines()[-1:]}"
        try:
            return seconds, results.explain_difference(self.source, self.read(pair, output))
        except errors.FlexcoreError as error:
            return seconds, str(error)

    def read(self, pair: Pair, output: Path) -> results.Marks:
        columns = tables.COLUMNS[self.table]
        if pair.is_load:
            return fingerprint.compute_fingerprint(reference.read_table(self.server, LOADED, self.table), columns)
        (path,) = output.glob("*.jsonl")
        file = contracts.File(path=path.name, bytes=path.stat().st_size, checksum=f"sha256:{'0' * 64}")
        stream = contracts.Stream(name=self.table, bytes=file.bytes, files=[file])
        manifest = contracts.DataManifest(uri=f"file://{output}", format="jsonl", streams=[stream])
        return fingerprint.compute_fingerprint(outputs.read_manifest(manifest, Store(Settings()), columns), columns)

    def environment(self, pair: Pair, output: Path) -> dict[str, str]:
        """Settings as Meltano reads them: PLUGIN_SETTING."""
        database_settings = {
            "host": self.server["host"],
            "port": str(self.server["port"]),
            "user": self.server["user"],
            "password": self.server["password"],
            "database": self.server["dbname"],
            "dbname": self.server["dbname"],
        }
        schemas = json.dumps([SCHEMA]) if pair.tap == SDK else SCHEMA
        select = json.dumps([f"*{SCHEMA}-{self.table}.*"])
        given = {pair.tap: {**database_settings, "filter_schemas": schemas, "_select": select}}
        target = {**database_settings, "default_target_schema": LOADED} if pair.is_load else {}
        given[pair.target] = target or {"destination_path": str(output)}
        named = {
            f"{plugin.replace('-', '_').upper()}_{name.upper()}": value
            for plugin, settings in given.items()
            for name, value in settings.items()
        }
        return {
            **base_environment(),
            **named,
            "MELTANO_PROJECT_ROOT": str(PROJECT),
            "MELTANO_SYS_DIR_ROOT": str(self.folder / "system"),
            "MELTANO_DATABASE_URI": f"sqlite:///{self.folder}/meltano.db",
            "XDG_STATE_HOME": str(self.folder / "logs"),
            "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
            "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
        }


def link_plugins(folder: Path) -> None:
    for pair in PAIRS:
        invocation = RUN.invoke({"project": {"path": str(PROJECT)}, "taps": [pair.tap], "target": pair.target})
        prepared = prepare(invocation.request, invocation.service, invocation.settings)
        link_environments(PROJECT, [*prepared.taps, prepared.target], folder, Redactor())


def measure(rows: int, table: tables.TableName, turns: int, report: Any) -> list[dict[str, Any]]:
    with PostgresServer() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link_plugins(folder / "system")
        with database.open_session(server.resource) as connection:
            database.make_schemas(connection, SCHEMA, "pairs")
            count, _ = database.make_table(connection, SCHEMA, table, rows)
        marks = fingerprint.compute_fingerprint(
            reference.read_table(server.resource, SCHEMA, table), tables.COLUMNS[table]
        )
        bench = Bench(server.resource, folder, table, marks)
        seconds: dict[Pair, list[float]] = {pair: [] for pair in PAIRS}
        problems: dict[Pair, str] = dict.fromkeys(PAIRS, "")
        for turn in range(turns):
            for pair in PAIRS if turn % 2 == 0 else reversed(PAIRS):
                took, problem = bench.run(pair)
                seconds[pair].append(took)
                problems[pair] = problems[pair] or problem
                report(f"turn {turn + 1}: {pair.name}: {took:.1f} s {problem}")
    return [summarize(pair, count, seconds[pair], problems[pair]) for pair in PAIRS]


def summarize(pair: Pair, rows: int, seconds: list[float], problem: str) -> dict[str, Any]:
    rates = sorted(rows / value for value in seconds)
    return {
        "pair": pair.name,
        "kind": "load" if pair.is_load else "extract",
        "rows_per_s": [round(value) for value in (statistics.median(rates), rates[0], rates[-1])],
        "problem": problem,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--table", choices=tables.TABLES, default="narrow")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object alone")
    options = parser.parse_args()
    say = (lambda text: None) if options.json else (lambda text: print(text, flush=True))
    measured = measure(options.rows, options.table, options.turns, say)
    best = {
        kind: max((item for item in measured if item["kind"] == kind and not item["problem"]), key=_rate, default=None)
        for kind in ("extract", "load")
    }
    found = {
        "table": options.table,
        "rows": options.rows,
        "load_average": round(os.getloadavg()[0], 1),
        "pairs": measured,
        "fastest": {kind: item and item["pair"] for kind, item in best.items()},
    }
    print(json.dumps(found, indent=None if options.json else 1, ensure_ascii=False))
    return 0 if all(best.values()) else 1


def _rate(item: dict[str, Any]) -> float:
    return float(item["rows_per_s"][0])


if __name__ == "__main__":
    sys.exit(main())
