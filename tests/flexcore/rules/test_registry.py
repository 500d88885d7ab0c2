"""The registry of runtimes and its operations are checked at file and line, without importing them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexcore.rules.registry import check_registry
from tests.flexcore.rules.conftest import replace

RUNTIMES, JOBS, CLIENT = "f/flexcore/lib/runtimes.py", "f/flexcore/lib/toy/jobs.py", "f/flexcore/lib/toy/client.py"
# name: (file, before, after, file of the finding, words of its line, words of its message)
WRONG = {
    "a module that does not exist": (
        RUNTIMES,
        "lib.toy.jobs:RUN",
        "lib.toy.job:RUN",
        RUNTIMES,
        "lib.toy.job:RUN",
        "no module f/flexcore/lib/toy/job.py; did you mean f/flexcore/lib/toy/jobs.py?",
    ),
    "a name that does not exist": (RUNTIMES, "jobs:RUN", "jobs:RUM", RUNTIMES, "jobs:RUM", "defines no RUM"),
    "a folder that does not exist": (
        RUNTIMES,
        "lib.toy.jobs:RUN",
        "lib.spark.jobs:RUN",
        RUNTIMES,
        "lib.spark.jobs:RUN",
        "no folder f/flexcore/lib/spark; add it with the runtime's modules, or take the entry out",
    ),
    "two runtimes of one name": (
        RUNTIMES,
        "    )\n}",
        '    ),\n    "other": operation.Runtime(operations={},\n        name="toy"),\n}',
        RUNTIMES,
        '        name="toy"),',
        "the runtime 'toy' is registered already, at line 12; take one out, or rename it",
    ),
    "two operations of one name": (
        RUNTIMES,
        'toy.jobs:RUN"}',
        'toy.jobs:RUN",\n        "run": "f.flexcore.lib.toy.jobs:RUN"}',
        RUNTIMES,
        '        "run": "f.',
        "toy has the operation 'run' already; take one out",
    ),
    "no address": (RUNTIMES, '"f.flexcore.lib.toy.jobs:RUN"', '"toy"', RUNTIMES, '"toy"}', "is not an address"),
    "a health that does not exist": (RUNTIMES, "jobs:health", "jobs:ok", RUNTIMES, "jobs:ok", "health of toy"),
    "an operation for the pipeline that is none": (
        RUNTIMES,
        '("run",)',
        '("runs",)',
        RUNTIMES,
        '("runs",)',
        "toy has no operation 'runs'; did you mean run?",
    ),
    "an operation without a verb": (
        JOBS,
        "    plan=client.plan,\n",
        "",
        JOBS,
        "RUN = operation.Operation(",
        "operation run of toy lacks `plan`; an Operation needs check, execute",
    ),
    "an operation without a request": (
        JOBS,
        "    request=client.Request,\n",
        "",
        JOBS,
        "RUN = operation.Operation(",
        "lacks `request`",
    ),
    "a verb that is not defined": (JOBS, "check=check", "check=chek", JOBS, "check=chek", "defines no chek; did you"),
    "a verb that another module lacks": (CLIENT, "def plan", "def plans", JOBS, "plan=client.plan", "defines no plan"),
    "an operation of another name": (JOBS, 'name="run"', 'name="walk"', JOBS, 'name="walk"', "name='walk'"),
    "something else in the place of an operation": (
        JOBS,
        "RUN = operation.Operation(",
        "RUN = dict(",
        JOBS,
        "RUN = dict(",
        "make it an Operation",
    ),
    "objects without a method": (
        JOBS,
        "    def stop(self, item): ...\n",
        "",
        JOBS,
        "class Objects",
        "Objects, the objects of toy, lacks the method `stop`",
    ),
}


def test_a_registry_whose_addresses_lead_to_whole_operations_is_clean(root: Path) -> None:
    assert [*check_registry(root)] == []


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found_at_its_line(root: Path, name: str) -> None:
    file, before, after, found_in, words, message = WRONG[name]
    replace(root, file, before, after)
    lines = (root / found_in).read_text().splitlines()
    line = next(number for number, text in enumerate(lines, start=1) if words in text)
    findings = [*check_registry(root)]
    assert [(item.file, item.line, item.rule) for item in findings] == [(found_in, line, "registry")], findings
    assert message in findings[0].message


def test_a_bundle_without_a_registry_is_not_asked_for_one(root: Path) -> None:
    (root / RUNTIMES).unlink()
    assert [*check_registry(root)] == []
