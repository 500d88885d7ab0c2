"""How many small changes of the code the tests notice: mutmut's mutants of what decides, module by module.

    uv run python -m bench.mutants [--json FILE] [MODULE …]        # MODULE: a part of a name below, such as selection

Each module is changed in a copy of the bundle, and only tests that are fast and about it look at it (TESTS). Prints the
score of each module, the share of its mutants that a test noticed, and with `--json` the names of those that survived;
`mutmut show NAME` in the copy that --keep leaves says what one of them changes. Exit code 1 when all together are below
SCORE. It takes hours: not part of `make test`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCORE = 0.85
LIB = "f/flexcore/lib"
# What the tests of a module need of the bundle, beside f/ itself.
COPIED = ("flexcore", "wmlocal", "bench", "tests", "dependencies", "locks", "resources", "u", "wmill.yaml")
TESTS: dict[str, tuple[str, ...]] = {
    "core/attempts": ("core/test_attempts.py", "core/test_driver.py"),
    "core/driver": ("core/test_driver.py", "core/test_deferral.py"),
    "core/operation": ("core/test_driver.py", "core/test_deferral.py"),
    "core/errors": ("core/test_errors.py",),
    "core/identity": ("core/test_identity.py",),
    "core/remote_objects": ("core/test_orphans.py",),
    "core/redaction": ("core/test_redaction.py",),
    "core/log_text": ("core/test_log_text.py",),
    "core/units": ("core/test_amounts.py",),
    "core/model_versions": ("core/test_model_versions.py",),
    "core/inference": ("core/test_inference.py",),
    "core/contracts": ("core/test_contracts.py", "core/test_manifests.py"),
    "core/tls_errors": ("core/test_tls.py",),
    "core/form_choices": ("core/test_choices.py",),
    "selection/analysis": ("selection/test_analysis.py",),
    "selection/rules": ("selection/test_selector.py",),
    "selection/selector": ("selection/test_selector.py",),
    "selection/candidate_score": ("selection/test_selector.py", "selection/test_forecast.py"),
    "selection/comparison": ("selection/test_comparison.py",),
    "selection/success_model": ("selection/test_forecast.py",),
    "selection/robust_stats": ("selection/test_forecast.py",),
    "selection/log_distribution": ("selection/test_forecast.py",),
    "selection/drift": ("selection/test_forecast.py",),
    "selection/calibration": ("selection/test_forecast.py",),
    "selection/cost_regression": ("selection/test_forecast.py",),
    "selection/forecast": ("selection/test_forecast.py",),
    "selection/training_data": ("selection/test_forecast.py",),
    "kubernetes/job_diagnosis": ("kubernetes/test_job_diagnosis.py",),
    "kubernetes_api/pod_problems": ("kubernetes/test_job_diagnosis.py",),
    "ray/job_diagnosis": ("ray/test_verdict.py",),
    "meltano/diagnosis": ("meltano/test_run_log.py",),
}
Json = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the copy")
    options = parser.parse_args()
    chosen = [name for name in TESTS if not options.modules or any(part in name for part in options.modules)]
    if not chosen:
        parser.error(f"no module has {' or '.join(options.modules)} in its name; there are {', '.join(TESTS)}")
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    found: Json = {}
    try:
        make_copy(folder)
        for name in chosen:
            found[name] = measure(folder, name)
            print(f"{name:28}{describe(found[name])}", flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")
    finally:
        print(folder) if options.keep else shutil.rmtree(folder, ignore_errors=True)
    total = add(found.values())
    print(f"{'all':28}{describe(total)}")
    return int(total["score"] is None or total["score"] < SCORE)


def make_copy(folder: Path) -> None:
    """What git knows of the bundle: mutmut changes files in place below its own folder, and pytest leaves caches."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", "f", *COPIED, "pyproject.toml", "*.resource-type.yaml"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    shutil.copy2(folder / "pyproject.toml", folder / "pyproject.plain.toml")


def measure(folder: Path, name: str) -> Json:
    """Counts of one module, and the names of the mutants that survived."""
    shutil.rmtree(folder / "mutants", ignore_errors=True)
    plain = (folder / "pyproject.plain.toml").read_text()
    (folder / "pyproject.toml").write_text(plain + write_configuration(name))
    mutmut = [sys.executable, "-m", "mutmut"]
    done = subprocess.run([*mutmut, "run", "--max-children", "1"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stdout + done.stderr).splitlines()[-3:], **count({})}
    listed = subprocess.run([*mutmut, "results", "--all", "true"], cwd=folder, capture_output=True, text=True)
    return count(parse_results(listed.stdout))


def write_configuration(name: str) -> str:
    values = {
        "source_paths": ["f"],
        "only_mutate": [f"{LIB}/{name}.py"],
        "also_copy": [item for item in COPIED if item != "tests"],
        "pytest_add_cli_args": ["-p", "no:xdist", "-p", "no:cacheprovider"],
        "pytest_add_cli_args_test_selection": [f"tests/{test}" for test in TESTS[name]],
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(["\n[tool.mutmut]", *lines, "use_git_change_detection = false", "track_dependencies = false\n"])


def parse_results(text: str) -> dict[str, str]:
    """Mutants with what became of them, of lines `NAME: STATUS`."""
    found = {}
    for line in text.splitlines():
        name, separator, status = line.strip().partition(": ")
        if separator and "__mutmut_" in name:
            found[name] = status.strip()
    return found


def count(statuses: dict[str, str]) -> Json:
    """A mutant that no test runs has survived as well as one that no test notices; one that hangs was noticed."""
    counts = Counter(statuses.values())
    noticed = counts["killed"] + counts["timeout"] + counts["segfault"]
    survived = sorted(name for name, status in statuses.items() if status in ("survived", "no tests", "suspicious"))
    total = noticed + len(survived)
    return {"mutants": total, "noticed": noticed, "score": noticed / total if total else None, "survived": survived}


def add(parts: Any) -> Json:
    total, noticed = sum(part["mutants"] for part in parts), sum(part["noticed"] for part in parts)
    return {"mutants": total, "noticed": noticed, "score": noticed / total if total else None}


def describe(part: Json) -> str:
    if part["score"] is None:
        return f"   not measured: {' '.join(part.get('error', ()))}"
    return f"{part['noticed']:>6} of {part['mutants']:<6}{part['score']:>7.1%}"


if __name__ == "__main__":
    sys.exit(main())
