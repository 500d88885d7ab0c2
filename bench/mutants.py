"""How many small changes of the code the tests notice: mutmut's mutants of what decides, module by module.

    uv run python -m bench.mutants [--sample N] [--json FILE] [MODULE …]   # MODULE: a part of a name below: selection

Each module is changed in a copy of the bundle, and only tests that are fast and about it look at it (TESTS). Prints the
score of each module, the share of its mutants that a test noticed, and with `--json` those that survived with what they
change. With `--sample` at most N mutants of a module are tried: the same ones each time, and scores come with their
interval at 95 %. Exit code 1 when the score of all together is below SCORE. All mutants take hours, so this is not part
of `make test`.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable
from itertools import groupby
from math import sqrt
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCORE = 0.85
SEED = 17
NO_MUTANT = "none"
# Of the standard normal distribution, for an interval at 95 %.
Z = 1.96
LIB = "f/flexcore/lib"
# What the tests of a module need of the bundle, beside f/ itself.
COPIED = ("flexcore", "wmlocal", "bench", "tests", "dependencies", "locks", "resources", "u", "wmill.yaml")
# pytest starts once for every mutant: plugins that these tests do not use are left out. xdist brings a marker.
PLUGINS = ("xdist.plugin",)
# Tests that take a second or more and whose subject others look at as well, or that look at inputs by chance.
LEFT_OUT = (
    "slow",
    "no_input_ends_in_an_untyped_error",
    "the_time_for",
    "unknown_authority_signed",
    "no_line_takes_long",
    "any_history_leads",
    "regret",
    "pick_is_never_worse",
    "does_not_change_the",
)
TESTS: dict[str, tuple[str, ...]] = {
    "core/attempts": ("core/test_attempts.py", "core/test_driver.py"),
    "core/driver": ("core/test_driver.py", "core/test_deferral.py"),
    "core/operation": ("core/test_operation.py", "core/test_driver.py", "core/test_deferral.py"),
    "core/errors": ("core/test_errors.py", "core/test_driver.py"),
    "core/identity": ("core/test_identity.py",),
    "core/remote_objects": ("core/test_orphans.py",),
    "core/redaction": ("core/test_redaction.py",),
    "core/log_text": ("core/test_log_text.py",),
    "core/units": ("core/test_units.py",),
    "core/model_versions": ("core/test_model_versions.py",),
    "core/inference": ("core/test_inference.py",),
    "core/contracts": ("core/test_contracts.py", "core/test_manifests.py"),
    "core/tls_errors": ("core/test_tls.py",),
    "core/form_choices": ("core/test_choices.py",),
    "selection/analysis": ("selection/test_agreed.py", "selection/test_analysis.py"),
    "selection/rules": ("selection/test_agreed.py", "selection/test_selector.py"),
    "selection/selector": ("selection/test_agreed.py", "selection/test_selector.py"),
    "selection/candidate_score": ("selection/test_agreed.py", "selection/test_selector.py"),
    "selection/comparison": ("selection/test_agreed.py", "selection/test_comparison.py"),
    "selection/success_model": ("selection/test_agreed.py",),
    "selection/robust_stats": ("selection/test_agreed.py",),
    "selection/log_distribution": ("selection/test_agreed.py",),
    "selection/drift": ("selection/test_agreed.py",),
    "selection/calibration": ("selection/test_agreed.py",),
    "selection/cost_regression": ("selection/test_agreed.py",),
    "selection/forecast": ("selection/test_agreed.py", "selection/test_forecast.py"),
    "selection/training_data": ("selection/test_agreed.py",),
    "kubernetes/job_diagnosis": ("kubernetes/test_job_diagnosis.py", "kubernetes/test_diagnosis_texts.py"),
    "kubernetes_api/pod_problems": ("kubernetes/test_job_diagnosis.py", "kubernetes/test_diagnosis_texts.py"),
    "ray/job_diagnosis": ("ray/test_verdict.py",),
    "meltano/diagnosis": ("meltano/test_run_log.py",),
}
Json = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--sample", type=int, metavar="N", help="try at most N mutants of each module")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the copy")
    options = parser.parse_args()
    chosen = [name for name in TESTS if not options.modules or any(part in name for part in options.modules)]
    if not chosen:
        parser.error(f"no module has {' or '.join(options.modules)} in its name; there are {', '.join(TESTS)}")
    if options.sample is not None and options.sample < 1:
        parser.error("--sample: give at least 1")
    folder = Path(tempfile.mkdtemp(prefix="mutants-"))
    found: Json = {}
    try:
        make_copy(folder)
        for _, group in groupby(chosen, key=find_group):
            measured = measure(folder, list(group), options.sample)
            for name, part in measured.items():
                print(f"{name:28}{describe(part)}", flush=True)
            found |= measured
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")
    finally:
        print(folder) if options.keep else shutil.rmtree(folder, ignore_errors=True)
    total = add(found.values())
    print(f"{'all':28}{describe(total)}")
    return int(total["score"] is None or total["score"] < SCORE or any("error" in part for part in found.values()))


def find_group(name: str) -> str:
    """Modules that are changed in one run: starting it costs as much as a hundred mutants."""
    folder = name.partition("/")[0]
    return folder if folder in ("core", "selection") else "diagnosis"


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


def measure(folder: Path, modules: list[str], sample: int | None) -> dict[str, Json]:
    """Counts of each module, and its mutants that survived."""
    shutil.rmtree(folder / "mutants", ignore_errors=True)
    plain = (folder / "pyproject.plain.toml").read_text()
    (folder / "pyproject.toml").write_text(plain + write_configuration(modules))
    given: list[str] = []
    if sample is not None:
        # Makes the mutants and sees which test runs what, and then finds that there is none of this name.
        prepared = call_mutmut(folder, "run", "--max-children", "1", NO_MUTANT)
        if "nothing matches" not in prepared.stderr:
            return dict.fromkeys(modules, describe_failure(prepared))
        given = [mutant for name in modules for mutant in draw(list_mutants(folder, name), sample, name)]
    done = call_mutmut(folder, "run", "--max-children", "1", *given)
    if done.returncode:
        return dict.fromkeys(modules, describe_failure(done))
    statuses = parse_results(call_mutmut(folder, "results", "--all", "true").stdout)
    found = {}
    for name in modules:
        mutants = list_mutants(folder, name)
        counted = count({mutant: statuses[mutant] for mutant in draw(mutants, sample, name)}, len(mutants))
        changes = read_changes(folder / "mutants" / LIB / f"{name}.py", counted["survived"])
        found[name] = counted | {"survived": changes}
    return found


def call_mutmut(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def describe_failure(done: subprocess.CompletedProcess[str]) -> Json:
    """Of a run whose tests fail before anything is changed, for example."""
    said = (done.stdout + done.stderr).splitlines()
    error = [line for line in said if line.startswith(("FAILED", "ERROR"))] + said[-1:]
    return count({}, 0) | {"error": error}


def write_configuration(modules: list[str]) -> str:
    values = {
        "source_paths": ["f"],
        "only_mutate": [f"{LIB}/{name}.py" for name in modules],
        "also_copy": [item for item in COPIED if item != "tests"],
        "pytest_add_cli_args": [
            *(word for plugin in PLUGINS for word in ("-p", plugin)),
            *("-p", "no:cacheprovider", "-k", " and ".join(f"not {word}" for word in LEFT_OUT)),
        ],
        "pytest_add_cli_args_test_selection": sorted({f"tests/{test}" for name in modules for test in TESTS[name]}),
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(["\n[tool.mutmut]", *lines, "use_git_change_detection = false", "track_dependencies = false\n"])


def list_mutants(folder: Path, name: str) -> list[str]:
    """The names of a module's mutants, once mutmut has made them."""
    kept: Json = json.loads((folder / "mutants" / LIB / f"{name}.py.meta").read_text())
    return list(kept["exit_code_by_key"])


def draw(mutants: list[str], sample: int | None, name: str) -> list[str]:
    """All, or as many as asked for: the same ones as long as the module has the same mutants, and more for a larger
    sample."""
    if sample is None or sample >= len(mutants):
        return mutants
    return random.Random(f"{SEED} {name}").sample(mutants, len(mutants))[:sample]


def parse_results(text: str) -> dict[str, str]:
    """Mutants with what became of them, of lines `NAME: STATUS`."""
    found = {}
    for line in text.splitlines():
        name, separator, status = line.strip().partition(": ")
        if separator and "__mutmut_" in name:
            found[name] = status.strip()
    return found


def count(statuses: dict[str, str], mutants: int) -> Json:
    """A mutant that no test runs has survived as well as one that no test notices; one that hangs was noticed."""
    counts = Counter(statuses.values())
    noticed = counts["killed"] + counts["timeout"] + counts["segfault"]
    survived = sorted(name for name, status in statuses.items() if status in ("survived", "no tests", "suspicious"))
    tried = noticed + len(survived)
    score = noticed / tried if tried else None
    return {"mutants": mutants, "tried": tried, "noticed": noticed, "score": score, "survived": survived}


def read_changes(path: Path, names: Collection[str]) -> dict[str, str]:
    """What each of these mutants changes: the lines of its function that differ from the original's."""
    text = path.read_text()
    lines = text.splitlines()
    functions = {
        node.name: [line.replace(node.name, "") for line in lines[node.lineno - 1 : node.end_lineno]]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name
    }
    changes = {}
    for name in names:
        mutant = name.rpartition(".")[2]
        original = functions[f"{mutant.partition('__mutmut_')[0]}__mutmut_orig"]
        difference = list(difflib.unified_diff(original, functions[mutant], n=0, lineterm=""))[2:]
        changes[name] = "\n".join(line for line in difference if not line.startswith("@@"))
    return changes


def add(parts: Iterable[Json]) -> Json:
    """All modules together: each counts by its number of mutants, however many of them were tried."""
    measured = [part for part in parts if part["score"] is not None]
    mutants = sum(part["mutants"] for part in measured)
    total = {name: sum(part[name] for part in measured) for name in ("mutants", "tried", "noticed")}
    score = sum(part["score"] * part["mutants"] for part in measured) / mutants if mutants else None
    spread = sqrt(sum((part["mutants"] / mutants) ** 2 * variance(part) for part in measured)) if mutants else 0.0
    return total | {"score": score, "spread": spread}


def variance(part: Json) -> float:
    """Of a module's score, by what was not tried of it (a sample without replacement); as Agresti and Coull have it,
    so that a sample without a survivor is no certainty."""
    tried, mutants = int(part["tried"]), int(part["mutants"])
    if tried >= mutants:
        return 0.0
    share: float = (part["noticed"] + 2) / (tried + 4)
    return share * (1 - share) / tried * (mutants - tried) / (mutants - 1)


def describe(part: Json) -> str:
    if part["score"] is None:
        return f"   not measured: {' '.join(part.get('error', ()))}"
    spread = Z * (part["spread"] if "spread" in part else sqrt(variance(part)))
    interval = f" ± {spread:.1%} ({part['tried']} of {part['mutants']} tried)" if spread else ""
    return f"{part['noticed']:>6} of {part['tried']:<6}{part['score']:>7.1%}{interval}"


if __name__ == "__main__":
    sys.exit(main())
