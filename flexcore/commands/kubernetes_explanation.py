"""`flexcore kubernetes explain`: what a Job is about, from what kubectl printed. Asks no server; the diagnosis is the
step's own.

    {state: succeeded|failed|running|waiting, category, message, remedy, subject, exit_code, pod, container, retryable,
     notes: […]}

null: nothing is wrong, or it is not known. Of several Jobs the one is explained that needs it most: failed before
waiting before running before succeeded; of the Jobs of one CronJob, or attempts of one execution, the newest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from f.flexcore.lib.core.errors import NotFound, TransientError
from f.flexcore.lib.core.redaction import Redactor
from f.flexcore.lib.kubernetes import job_diagnosis, job_notes
from f.flexcore.lib.kubernetes_api import categories, job_status, pod_ends
from flexcore.commands.kubernetes_dump import Dump, object_name, read_dump

Object = Mapping[str, Any]
State = Literal["succeeded", "failed", "running", "waiting"]
ORDER: tuple[State, ...] = ("failed", "waiting", "running", "succeeded")


@dataclass(frozen=True, slots=True)
class Explanation:
    state: State
    category: str | None = None
    message: str = ""
    remedy: str | None = None
    subject: str | None = None
    exit_code: int | None = None
    pod: str | None = None
    container: str | None = None
    retryable: bool = False
    notes: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def explain(text: str, job_name: str = "") -> Explanation:
    """Raises InvalidInput for what is no dump, NotFound for a Job that is not in it."""
    dump = read_dump(text)
    chosen, others = _choose(dump, job_name)
    found = _explain(chosen, dump) if chosen else _explain_pods(dump)
    redact = Redactor().text
    return Explanation(
        state=found.state,
        category=found.category,
        message=redact(found.message),
        remedy=found.remedy,
        subject=found.subject,
        exit_code=found.exit_code,
        pod=found.pod,
        container=found.container,
        retryable=found.retryable,
        notes=[redact(note) for note in [*found.notes, *others]],
    )


# --- choosing


def _choose(dump: Dump, job_name: str) -> tuple[Object | None, list[str]]:
    """The Job to explain (None: there are only pods), and notes on the others."""
    if job_name:
        named = [job for job in dump.jobs if object_name(job) == job_name]
        if not named:
            there = ", ".join(map(object_name, dump.jobs)) or "none"
            raise NotFound(f"Job {job_name} is not in the dump", subject="job", remedy=f"Jobs in it: {there}.")
        return named[-1], []
    if not dump.jobs:
        return None, ["The dump holds no Job, whose conditions alone say how it ended; this is what its pods say"]
    newest: dict[str, Object] = {}
    for job in dump.jobs:
        group = _group(job)
        if group not in newest or _age_key(job) >= _age_key(newest[group]):
            newest[group] = job
    states = {id(job): _explain(job, dump).state for job in dump.jobs}
    chosen = min(newest.values(), key=lambda job: (ORDER.index(states[id(job)]), _Reversed(_age_key(job))))
    if len(dump.jobs) == 1:
        return chosen, []
    others = ", ".join(f"{object_name(job)} ({states[id(job)]})" for job in dump.jobs if job is not chosen)
    return chosen, [f"The dump holds {len(dump.jobs)} Jobs; {object_name(chosen)} is explained. The others: {others}"]


class _Reversed(str):
    """Sorts the newest first."""

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _age_key(job: Object) -> str:
    at = job_status.parse_time((job.get("metadata") or {}).get("creationTimestamp"))
    return at.isoformat() if at else ""


def _group(job: Object) -> str:
    metadata = job.get("metadata") or {}
    owner: Object = next((item for item in metadata.get("ownerReferences") or () if item.get("controller")), {})
    key = (metadata.get("labels") or {}).get("flexcore/key")
    return str(owner.get("uid") or key or metadata.get("uid") or f"{metadata.get('namespace')}/{object_name(job)}")


def _select_pods(job: Object, pods: Sequence[Object], alone: bool) -> list[Object]:
    """By owner or label; where neither is told, all pods of a dump that holds this Job alone."""
    metadata = job.get("metadata") or {}
    uid, name = metadata.get("uid"), object_name(job)
    found, unclear = [], []
    for pod in pods:
        about = pod.get("metadata") or {}
        owners = [item for item in about.get("ownerReferences") or () if item.get("kind") in ("Job", None)]
        labels = about.get("labels") or {}
        uids = {*(item.get("uid") for item in owners), labels.get("batch.kubernetes.io/controller-uid")}
        uids |= {labels.get("controller-uid")}
        uids.discard(None)
        names = {*(item.get("name") for item in owners), labels.get("batch.kubernetes.io/job-name")}
        names |= {labels.get("job-name")}
        names.discard(None)
        if uid and uids:
            found += [pod] if uid in uids else []
        elif names:
            found += [pod] if name in names else []
        elif not owners or not about.get("ownerReferences"):
            unclear.append(pod)
    return found + [pod for pod in unclear if alone or object_name(pod).startswith(f"{name}-")]


# --- explaining


def _explain(job: Object, dump: Dump) -> Explanation:
    pods = _select_pods(job, dump.pods, len(dump.jobs) == 1)
    events, name = dump.events, object_name(job)
    ended = job_status.find_verdict(job)
    if ended == "complete":
        code = job_notes.find_exit_code(pods, job)
        # A pod that Kubernetes counts as succeeded has ended with 0; the pod itself may be gone by now.
        code = 0 if code is None and (job.get("status") or {}).get("succeeded") else code
        pod = next((item for item in pods if _phase(item) == "Succeeded"), None)
        text = f"Job {name} is complete{_describe_count(job)}"
        return Explanation(
            "succeeded",
            None,
            text,
            exit_code=code,
            pod=object_name(pod) or None if pod else None,
            notes=job_notes.list_notes(job, pods, None, events),
        )
    if ended == "failed":
        problem = job_diagnosis.diagnose_failed_job(job, pods, events)
        return _explain_problem(
            "failed", f"Job {name} failed", problem, job_notes.list_notes(job, pods, problem, events), name
        )
    if job_status.find_condition(job, "FailureTarget"):
        problem = job_diagnosis.diagnose_failed_job(job, pods, events)
        said = [f"The Job has not ended yet: {job_status.describe_failure(job)}; its pods are being stopped"]
        return _explain_problem(
            "running", f"Job {name} is failing", problem, said + job_notes.list_notes(job, pods, problem, events), name
        )
    return _explain_active(job, pods, events)


def _explain_active(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> Explanation:
    name = object_name(job)
    running = [pod for pod in pods if _is_running(pod)]
    problem = job_diagnosis.diagnose_active_job(job, pods, events)
    status = job.get("status") or {}
    if job_status.find_condition(job, "SuccessCriteriaMet"):
        text = f"Job {name} has reached its success, and its last pods are being stopped"
        return Explanation("running", None, text, notes=job_notes.list_notes(job, pods, None, events))
    state: State = "running" if running or (not pods and status.get("ready")) else "waiting"
    said = job_notes.list_notes(job, pods, problem, events)
    if problem and problem.container and _is_sidecar_only(problem):
        # Told, and no reason to end the run.
        text = f"Job {name} runs{_describe_place(running)}"
        return Explanation(state, None, text, notes=[f"{problem.detail}", *said])
    if problem:
        verb = "does not end" if running else "waits"
        return _explain_problem(state, f"Job {name} {verb}", problem, said, name)
    if running:
        return Explanation("running", None, f"Job {name} runs{_describe_place(running)}", notes=said)
    return Explanation(state, None, _waiting_text(job, pods), notes=said + _list_failures(job, pods, events))


def _is_sidecar_only(problem: categories.Problem) -> bool:
    return problem.grace_s == float("inf") and problem.detail.startswith("sidecar ")


def _list_failures(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> list[str]:
    problems = [
        found for pod in pods if _phase(pod) == "Failed" and (found := pod_ends.diagnose_ended_pod(pod, events, job))
    ]
    return [f"{item.detail} (pod {item.pod})" for item in problems]


def _waiting_text(job: Object, pods: Sequence[Object]) -> str:
    name, status = object_name(job), job.get("status") or {}
    waiting = [pod for pod in pods if _phase(pod) not in job_status.TERMINAL_PHASES]
    if waiting:
        reasons = [
            str(entry["state"]["waiting"].get("reason"))
            for pod in waiting
            for entry in _statuses(pod)
            if ((entry.get("state") or {}).get("waiting") or {}).get("reason")
        ]
        why = ", ".join(dict.fromkeys(reasons)) or "no node yet"
        return f"Job {name} is starting: pod {object_name(waiting[0])} is not yet running ({why})"
    if pods:
        limit = (job.get("spec") or {}).get("backoffLimit")
        return f"Job {name} starts its next pod: {len(pods)} have ended (backoffLimit {6 if limit is None else limit})"
    if status.get("active"):
        return f"Job {name} has {status['active']} active pods, which are not in the dump"
    return f"Job {name} has no pods yet"


def _explain_problem(state: State, what: str, problem: categories.Problem, said: list[str], name: str) -> Explanation:
    found = problem.to_diagnosis()
    remedy = found.remedy.replace("in log_tail", f"in its log ({_log_command(problem)})")
    # Nobody's step has run it, perhaps.
    remedy = remedy.replace("Raise timeout_s", "Raise activeDeadlineSeconds (a step's timeout_s)")
    remedy = remedy.replace("raise timeout_s", "raise activeDeadlineSeconds (a step's timeout_s)")
    remedy = remedy.replace("kubectl describe.", f"kubectl describe {'job' if problem.pod != name else 'pod'} {name}.")
    return Explanation(
        state=state,
        category=found.category,
        message=f"{what}: {found.detail}",
        remedy=remedy,
        subject=problem.name_subject(name),
        exit_code=problem.exit_code,
        pod=problem.pod or None,
        container=problem.container or None,
        retryable=issubclass(problem.error_type, TransientError),
        notes=said,
    )


def _log_command(problem: categories.Problem) -> str:
    container = f" -c {problem.container}" if problem.container else ""
    return f"kubectl logs {problem.pod or 'POD'}{container}"


def _explain_pods(dump: Dump) -> Explanation:
    """Pods without their Job: the worst of them."""
    pods = dump.pods
    for pod in pods:
        if _phase(pod) == "Failed":
            unknown = categories.Problem(
                categories.Category.UNKNOWN, "It failed, and no container tells why", pod=object_name(pod)
            )
            problem = pod_ends.diagnose_ended_pod(pod, dump.events) or unknown
            return _explain_problem(
                "failed",
                f"Pod {object_name(pod)} failed",
                problem,
                job_notes.list_notes({}, pods, problem),
                object_name(pod),
            )
    problem_now = job_diagnosis.diagnose_active_job({}, pods, dump.events)
    running = [pod for pod in pods if _is_running(pod)]
    if problem_now:
        state: State = "running" if running else "waiting"
        said = job_notes.list_notes({}, pods, problem_now)
        return _explain_problem(state, f"Pod {problem_now.pod}", problem_now, said, problem_now.pod)
    if all(_phase(pod) == "Succeeded" for pod in pods):
        text = f"{'Pod ' + object_name(pods[0]) if len(pods) == 1 else f'All {len(pods)} pods'} succeeded"
        return Explanation(
            "succeeded",
            None,
            text,
            exit_code=job_notes.find_exit_code(pods),
            pod=object_name(pods[0]),
            notes=job_notes.list_notes({}, pods),
        )
    if running:
        return Explanation(
            "running",
            None,
            f"Pod {object_name(running[0])} runs",
            pod=object_name(running[0]),
            notes=job_notes.list_notes({}, pods),
        )
    return Explanation(
        "waiting", None, f"Pod {object_name(pods[0])} is not yet running", notes=job_notes.list_notes({}, pods)
    )


def _describe_count(job: Object) -> str:
    succeeded = (job.get("status") or {}).get("succeeded")
    return f" ({succeeded} pods succeeded)" if isinstance(succeeded, int) and succeeded > 1 else ""


def _describe_place(running: Sequence[Object]) -> str:
    if len(running) != 1:
        return f" in {len(running)} pods"
    node = (running[0].get("spec") or {}).get("nodeName")
    return f" in pod {object_name(running[0])}{f' on {node}' if node else ''}"


def _is_running(pod: Object) -> bool:
    """Whether one of its containers runs."""
    return _phase(pod) == "Running" and any((entry.get("state") or {}).get("running") for entry in _statuses(pod))


def _statuses(pod: Object) -> list[Object]:
    return list((pod.get("status") or {}).get("containerStatuses") or ())


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "")
