"""Mixed executions under faults for a given time: nothing lost, nothing left over, nothing that grows.

    uv run python -m bench.soak --minutes 60 [--width 4] [--seed 1] [--json FILE] [--svg FILE]
    FLEXCORE_LIVE_WINDMILL_TOKEN=… uv run python -m bench.soak --minutes 60 --server URL --workspace NAME

Extractions with Meltano, programs on a Ray head of its own, containers on a Kubernetes API whose Jobs are played,
pipelines, and steps that need none of these; blocking and deferred, with a lease, failing, canceled. Meanwhile steps,
the engine and the head are killed, and store, Ray and Kubernetes are away for seconds. The embedded engine keeps
finished runs for a sixth of the time, so that what is kept is as much at the end as in the middle.

Exit code 1 when an execution has no outcome or another one than it had to, when something is left over, when the
interval of a slope that is judged lies above zero, or when a job adds more to the head's memory than a job that does
nothing adds to a head without flexcore, which gets as many jobs. A Windmill must have the bundle, and its workers must
run on this machine: they reach the head and the store on loopback. Its own memory is not measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.soak import kept, passes, report
from bench.soak.places import open_places
from bench.soak.soak import Soak
from tests.live.conftest import Windmill

# A head that is started anew on a busy machine holds the soak up for minutes: what ended meanwhile must still be there.
LEAST_RETENTION_S = 300.0
# An engine that does nothing but run flows grows by 7 MB with the first 180 and then stays.
ENGINE_WARM_UP_S = 600.0


def main() -> int:
    options = parse()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    length_s = options.minutes * 60
    retention_s = max(LEAST_RETENTION_S, length_s / 6)
    try:
        with open_places(folder, retention_s, _server(options)) as places:
            soak = Soak(places, length_s, options.width, options.seed, lambda text: print(text, file=sys.stderr))
            started = time.time()
            soak.run()
            soak.series[passes.BEYOND_LIST] = passes.leave_out_lists(soak.series)
            soak.series[kept.PER_EXECUTION] = kept.count_rows_per_execution(soak.series, retention_s)
            soak.series[kept.BEYOND_ROWS] = kept.leave_out_rows(soak.series)
            # Rows and what the history brings with it are level from the first time that runs are dropped.
            level = retention_s * 1.3 + report.WARM_UP_S
            names = (
                kept.ROWS,
                kept.DATABASE,
                "database_used_mb",
                "remote_objects",
                kept.PER_EXECUTION,
                kept.BEYOND_ROWS,
            )
            warm_ups = dict.fromkeys(names, level)
            warm_ups["engine_memory_mb"] = ENGINE_WARM_UP_S
            warm_ups[passes.OTHERS] = passes.OTHERS_WARM_UP_S
            found = report.build_report(
                soak.executions,
                soak.leaks,
                soak.series,
                warm_ups,
                minutes=options.minutes,
                seconds=round(time.time() - started),
                seed=options.seed,
                width=options.width,
                on="Windmill" if options.server else "embedded engine",
                faults=soak.faults.counts,
                reconcile_passes=soak.passes,
                requests_refused=soak.ledger.refused,
            )
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    write(options, found, soak)
    print(report.describe(found))
    return 0 if found["holds"] else 1


def write(options: argparse.Namespace, found: dict[str, Any], soak: Soak) -> None:
    if options.json:
        points = {name: [[round(s.at_s, 1), s.value, s.life] for s in samples] for name, samples in soak.series.items()}
        options.json.write_text(json.dumps({**found, "series": points}) + "\n")
    if options.svg:
        options.svg.write_text(report.draw(soak.series, found))


def _server(options: argparse.Namespace) -> Windmill | None:
    if not options.server:
        return None
    token = os.environ.get("FLEXCORE_LIVE_WINDMILL_TOKEN")
    if not token:
        raise SystemExit("--server needs a token: set FLEXCORE_LIVE_WINDMILL_TOKEN")
    return Windmill(options.server.rstrip("/"), token, options.workspace)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--width", type=int, default=4, help="executions that are under way together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--server", default="", help="a Windmill; by default an embedded engine is started")
    parser.add_argument("--workspace", default="dev")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave its folder")
    options = parser.parse_args()
    if options.minutes <= 0 or options.width < 1:
        parser.error("--minutes must be above 0 and --width at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
