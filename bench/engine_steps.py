"""What the local engine costs per step: steps of one flow against the same Python process started by hand, in turns.

    uv run python bench/engine_steps.py [--steps 20] [--rounds 5]

Prints JSON: seconds of a bare process that imports what the step imports and runs it, seconds per step in the engine,
their difference (bar: 0.05 s), and seconds of the bundle's own first step, `pipeline/prepare` (bar: 0.35 s).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from wmlocal.engine.engine import Engine
from wmlocal.engine.environments import Environments

ROOT = Path(__file__).parent.parent
STEP = "def main(x: int = 1):\n    return x\n"
# What Windmill's wrapper does around a step, in the least code: arguments in, result out.
BARE = "import json, step; json.dump(step.main(**json.load(open('args.json'))), open('result.json', 'w'))"
PREPARE: dict[str, Any] = {
    "extraction": {"project": {"path": "."}, "taps": ["tap-csv"]},
    "ml": {"cluster": {}, "target_column": "delay"},
    "deployment": {},
}


def seconds(action: Any) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def bundle(folder: Path, steps: int) -> Path:
    value = {"type": "rawscript", "language": "python3", "content": STEP, "lock": "", "input_transforms": {}}
    modules = [{"id": f"s{number}", "value": value} for number in range(steps)]
    flow = folder / "f/bench/steps__flow/flow.yaml"
    flow.parent.mkdir(parents=True)
    flow.write_text(yaml.safe_dump({"summary": "", "value": {"modules": modules}, "schema": {}}))
    (folder / "wmill.yaml").write_text("nonDottedPaths: true\n")
    return folder


def bare_process(python: Path, folder: Path) -> float:
    (folder / "step.py").write_text(STEP)
    (folder / "args.json").write_text("{}")
    return seconds(lambda: subprocess.run([str(python), "-u", "-c", BARE], cwd=folder, check=True))


def measure(steps: int, rounds: int) -> dict[str, float]:
    bare, engine, prepare = [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = bundle(folder / "bundle", steps)
        (folder / "bare").mkdir()
        with Engine(root) as small, Engine(ROOT) as ours:
            python = Environments(small.home).python_for("")
            small.run("f/bench/steps", {})
            ours.run("f/flexcore/pipeline/prepare", PREPARE)
            for _ in range(rounds):
                bare.append(min(bare_process(python, folder / "bare") for _ in range(steps)))
                engine.append(seconds(lambda: small.run("f/bench/steps", {})) / steps)
                prepare.append(seconds(lambda: ours.run("f/flexcore/pipeline/prepare", PREPARE)))
    per_step, process = statistics.median(engine), statistics.median(bare)
    return {
        "bare_process_s": round(process, 4),
        "engine_step_s": round(per_step, 4),
        "engine_overhead_s": round(per_step - process, 4),
        "pure_step_s": round(statistics.median(prepare), 4),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=1))
