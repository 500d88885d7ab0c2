# requirements: flexcore_base
"""Execution key: the name under which a step's work is known to its runtime, so that a repeat finds it again.

Windmill gives a retry a new WM_JOB_ID and a restart after a worker's death the old one; the nearest flow job and the
step id stay the same over both, and differ between loop iterations, branches and subflows. One exception, seen on a
server: a loop over a single plain step runs its iterations as jobs of the outer flow under the loop's id, told apart
by WM_JOB_PATH alone (`…/loop-0`, `…/loop-1`); hence the iterations are part of the key. A script that runs alone has no
flow job; then its own job is the key.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

# Kubernetes limits a Job's name to 63 characters and appends a suffix of 6 to its pods; Ray's submission ids and
# Meltano's run ids take any such name.
KEY_LENGTH = 20
ITERATION = re.compile(r"/(?:for)?loop-\d+")

# Labels of our remote objects beside those of their owner. DEFERRED: its flow is suspended meanwhile; OUTLIVES_RUN:
# kept when its run has ended; ON_TRIAL, an annotation: it never answered yet, and is kept no longer than its owner
# lives.
MANAGED_BY = "app.kubernetes.io/managed-by"
# As which we write to Kubernetes; a server notes it beside each field.
FIELD_MANAGER = "flexcore"
DEFERRED = "flexcore/deferred"
OUTLIVES_RUN = "flexcore/outlives-run"
ON_TRIAL = "flexcore/on-trial"
# By which costs are told apart (OpenCost aggregates by any label of a pod). A workspace or worker that sets
# TEAM_VARIABLE names the team; otherwise it is the folder or user that the workflow lies in.
WORKFLOW, RUN, TEAM = "flexcore/workflow", "flexcore/run", "flexcore/team"
COST_LABELS = (WORKFLOW, RUN, TEAM)
TEAM_VARIABLE = "FLEXCORE_TEAM"


@dataclass(frozen=True, slots=True)
class ExecutionKey:
    """Who owns a piece of work. `value` is `fc-` and 20 hexadecimal digits: a DNS label, safe in paths and labels.

    trace: the W3C traceparent of the step that works on it; "" when the settings name no collector."""

    value: str
    owner_job: str
    root_job: str
    step: str
    workspace: str
    workflow: str = ""
    team: str = ""
    trace: str = ""

    def name(self, attempt: int) -> str:
        """The remote object's name for one attempt."""
        return f"{self.value}-{attempt}"

    def uuid(self, attempt: int) -> str:
        """The same name in the form of a UUID, for systems that accept nothing else (Meltano's run id)."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.name(attempt)))

    def labels(self, attempt: int) -> dict[str, str]:
        """Owner labels for every remote object; values fit Kubernetes' label syntax."""
        return {
            MANAGED_BY: "flexcore",
            "flexcore/key": self.value,
            "flexcore/attempt": str(attempt),
            "flexcore/owner-job": label_value(self.owner_job),
            "flexcore/root-job": label_value(self.root_job),
            "flexcore/step": label_value(self.step),
            "flexcore/workspace": label_value(self.workspace),
            **self.cost_labels(),
        }

    def trace_environment(self, attempt: int) -> dict[str, str]:
        """By which the program of an attempt joins the trace, below the attempt's own span; {} without one."""
        if not self.trace:
            return {}
        # Only who traces pays for it.
        from f.flexcore.lib.core import trace_context

        version, trace_id, _, flags = self.trace.split("-")
        return {"TRACEPARENT": "-".join((version, trace_id, trace_context.span_of(self.name(attempt)), flags))}

    def cost_labels(self) -> dict[str, str]:
        """Whose costs a pod is: workflow (its path, `.` for `/`), run (its root job) and team."""
        return {
            WORKFLOW: label_value(self.workflow.replace("/", ".")),
            RUN: label_value(self.root_job),
            TEAM: label_value(self.team),
        }


def execution_key(env: Mapping[str, str]) -> ExecutionKey:
    """The key of the step that runs with this environment (a worker's WM_* variables).

    Outside a worker there is no job; a fresh id then makes every call its own execution.
    """
    job = env.get("WM_JOB_ID") or str(uuid.uuid4())
    owner = env.get("WM_FLOW_JOB_ID") or job
    step = env.get("WM_FLOW_STEP_ID") or ""
    iterations = "".join(ITERATION.findall(env.get("WM_JOB_PATH") or ""))
    digest = hashlib.sha256(f"{owner}\n{step}\n{iterations}".encode()).hexdigest()
    workflow = env.get("WM_FLOW_PATH") or ITERATION.sub("", env.get("WM_JOB_PATH") or "")
    return ExecutionKey(
        value=f"fc-{digest[:KEY_LENGTH]}",
        owner_job=owner,
        root_job=env.get("WM_ROOT_JOB_ID") or owner,
        step=step,
        workspace=env.get("WM_WORKSPACE") or "",
        workflow=workflow,
        team=env.get(TEAM_VARIABLE) or find_team(workflow),
    )


def find_team(path: str) -> str:
    """The folder of `f/FOLDER/…`, or the user of `u/USER/…`; "" for other paths."""
    kind, _, rest = path.partition("/")
    return rest.partition("/")[0] if kind in ("f", "u") else ""


def label_value(text: str) -> str:
    """`text` as a Kubernetes label value: at most 63 of [A-Za-z0-9_.-], alphanumeric at both ends."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:63].strip("_.-")
