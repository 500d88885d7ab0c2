# requirements: flexcore_kubernetes
"""What a Job is about, from what `kubectl get job,pod,event -o json` printed. Asks no server; the diagnosis is the
step's own.

    {state: succeeded|failed|running|waiting, category, message, remedy, subject, exit_code, pod, container, retryable,
     notes: […]}

null: nothing is wrong, or it is not known. Of several Jobs the one is explained that is worth it: failed before waiting
before running before succeeded; of the Jobs of one CronJob, or attempts of one execution, only the newest counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from f.flexcore.lib.core import errors, redaction
from f.flexcore.lib.kubernetes import categories, diagnosis, event_log, job_conditions, pod_ends, pod_problems

Object = Mapping[str, Any]
State = Literal["succeeded", "failed", "running", "waiting"]
ORDER: tuple[State, ...] = ("failed", "waiting", "running", "succeeded")
OTHER_OUTPUT = {
    r"(apiVersion|kind|items|metadata):": "YAML, not JSON (kubectl … -o json)",
    r"(NAME|NAMESPACE|LAST SEEN|LAST|COMPLETIONS)\s": "a table, not JSON (kubectl … -o json)",
    r"Name:\s": "what kubectl describe prints, not JSON (kubectl get … -o json)",
    r"No resources found": "empty: no resources were found",
    r"(Error from server|error:)": "an error of kubectl",
}
# What pydantic says of a shape names its own classes.
EXPECTED = {
    "model_type": "an object is expected",
    "model_attributes_type": "an object is expected",
    "dict_type": "an object is expected",
    "list_type": "a list is expected",
    "string_type": "a text is expected",
    "int_type": "a whole number is expected",
    "bool_type": "true or false is expected",
    "missing": "it is missing",
}
HINT = "Give what `kubectl get job,pod,event -o json` printed."


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


class _Part(BaseModel):
    """The shape of what is read; all else of an object is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Terminated(_Part):
    exitCode: int | None = None
    reason: str | None = None
    message: str | None = None


class _State(_Part):
    running: dict[str, Any] | None = None
    waiting: dict[str, Any] | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(_Part):
    name: str
    state: _State | None = None
    lastState: _State | None = None
    restartCount: int | None = None


class _Condition(_Part):
    type: str
    status: str


class _Status(_Part):
    conditions: list[_Condition] | None = None
    containerStatuses: list[_ContainerStatus] | None = None
    initContainerStatuses: list[_ContainerStatus] | None = None
    phase: str | None = None
    failed: int | None = None
    succeeded: int | None = None
    active: int | None = None
    ready: int | None = None
    failedIndexes: str | None = None
    completedIndexes: str | None = None


class _Metadata(_Part):
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    creationTimestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    ownerReferences: list[dict[str, Any]] | None = None


class _Named(_Part):
    name: str | None = None


class _PodSpec(_Part):
    containers: list[_Named] | None = None
    initContainers: list[_Named] | None = None
    nodeSelector: dict[str, str] | None = None
    affinity: dict[str, Any] | None = None
    schedulingGates: list[_Named] | None = None


class _Template(_Part):
    spec: _PodSpec | None = None


class _Spec(_PodSpec):
    template: _Template | None = None
    suspend: bool | None = None
    backoffLimit: int | None = None
    completions: int | None = None


class _Item(_Part):
    kind: str | None = None
    metadata: _Metadata | None = None
    spec: _Spec | None = None
    status: _Status | None = None


class _Event(_Part):
    kind: str | None = None
    metadata: _Metadata | None = None
    reason: str | None = None
    message: str | None = None
    involvedObject: dict[str, Any] | None = None
    series: dict[str, Any] | None = None


@dataclass(slots=True)
class Dump:
    """The objects of a dump that matter, by kind."""

    jobs: list[Object] = field(default_factory=list)
    pods: list[Object] = field(default_factory=list)
    events: list[Object] = field(default_factory=list)


def explain(text: str, job_name: str = "") -> Explanation:
    """Raises InvalidInput for what is no dump, NotFound for a Job that is not in it."""
    dump = read_dump(text)
    chosen, others = _choose(dump, job_name)
    found = _explain(chosen, dump) if chosen else _explain_pods(dump)
    redact = redaction.Redactor().text
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


# --- reading


def read_dump(text: str) -> Dump:
    dump = Dump()
    for document in _documents(text):
        for item, kind, place in _objects(document, "", ""):
            if kind not in ("Job", "Pod", "Event"):
                continue
            _check_shape(_Event if kind == "Event" else _Item, item, place)
            {"Job": dump.jobs, "Pod": dump.pods, "Event": dump.events}[kind].append(item)
    if not dump.jobs and not dump.pods:
        raise _wrong("the dump holds neither a Job nor a Pod", "items")
    return dump


def _documents(text: str) -> Iterator[Any]:
    """One JSON document, or several behind one another: the outputs of several commands."""
    if not text.strip():
        raise _wrong("the dump is empty", "dump")
    decoder, at = json.JSONDecoder(), 0
    text = text.removeprefix("\ufeff")
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        try:
            document, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _wrong(_describe_text(text, error), "dump") from None
        yield document


def _describe_text(text: str, error: Exception) -> str:
    """What the dump is instead of JSON, where its first line says so."""
    first = text.lstrip().partition("\n")[0]
    for begin, what in OTHER_OUTPUT.items():
        if re.match(begin, first):
            return f"the dump is {what}"
    return f"the dump is no JSON ({error})"


def _objects(document: Any, kind: str, place: str) -> Iterator[tuple[Object, str, str]]:
    """(object, its kind, where it stands); the items of a list of one kind have none of their own."""
    if not isinstance(document, dict):
        raise _wrong(f"{place or 'dump'} is no object but {_type(document)}", place or "dump")
    own = document.get("kind") or kind
    if not isinstance(own, str):
        raise _wrong(f"{place + '.' if place else ''}kind is no text", f"{place + '.' if place else ''}kind")
    if "items" not in document:
        if not own:
            raise _wrong(f"{place or 'the dump'} names no kind", f"{place + '.' if place else ''}kind")
        yield document, own, place
        return
    items = document["items"]
    if items is None:
        return
    if not isinstance(items, list):
        raise _wrong(f"{place + '.' if place else ''}items is no list but {_type(items)}", "items")
    for number, item in enumerate(items):
        inner = f"{place + '.' if place else ''}items.{number}"
        yield from _objects(item, own.removesuffix("List"), inner)


def _check_shape(model: type[BaseModel], item: Object, place: str) -> None:
    try:
        model.model_validate(item)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        path = ".".join(filter(None, [place, *(str(part) for part in first["loc"])]))
        problem = EXPECTED.get(first["type"], first["msg"])
        raise _wrong(f"the dump's {path} is wrong: {problem}", path) from None


def _type(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), "an object")


def _wrong(problem: str, subject: str) -> errors.InvalidInput:
    return errors.InvalidInput(problem[:1].upper() + problem[1:], subject=subject, remedy=HINT)


# --- choosing


def _choose(dump: Dump, job_name: str) -> tuple[Object | None, list[str]]:
    """The Job to explain (None: there are only pods), and notes on the others."""
    if job_name:
        named = [job for job in dump.jobs if _name(job) == job_name]
        if not named:
            there = ", ".join(map(_name, dump.jobs)) or "none"
            raise errors.NotFound(f"Job {job_name} is not in the dump", subject="job", remedy=f"Jobs in it: {there}.")
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
    others = ", ".join(f"{_name(job)} ({states[id(job)]})" for job in dump.jobs if job is not chosen)
    return chosen, [f"The dump holds {len(dump.jobs)} Jobs; {_name(chosen)} is explained. The others: {others}"]


class _Reversed(str):
    """Sorts the newest first."""

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _age_key(job: Object) -> str:
    at = event_log.parse_time((job.get("metadata") or {}).get("creationTimestamp"))
    return at.isoformat() if at else ""


def _group(job: Object) -> str:
    metadata = job.get("metadata") or {}
    owner: Object = next((item for item in metadata.get("ownerReferences") or () if item.get("controller")), {})
    key = (metadata.get("labels") or {}).get("flexcore/key")
    return str(owner.get("uid") or key or metadata.get("uid") or f"{metadata.get('namespace')}/{_name(job)}")


def _pods_of(job: Object, pods: Sequence[Object], alone: bool) -> list[Object]:
    """By owner or label; where neither is told, all pods of a dump that holds this Job alone."""
    metadata = job.get("metadata") or {}
    uid, name = metadata.get("uid"), _name(job)
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
    return found + [pod for pod in unclear if alone or _name(pod).startswith(f"{name}-")]


# --- explaining


def _explain(job: Object, dump: Dump) -> Explanation:
    pods = _pods_of(job, dump.pods, len(dump.jobs) == 1)
    events, name = dump.events, _name(job)
    ended = job_conditions.verdict(job)
    if ended == "complete":
        code = diagnosis.find_exit_code(pods, job)
        # A pod that Kubernetes counts as succeeded has ended with 0; the pod itself may be gone by now.
        code = 0 if code is None and (job.get("status") or {}).get("succeeded") else code
        pod = next((item for item in pods if _phase(item) == "Succeeded"), None)
        text = f"Job {name} is complete{_counts(job)}"
        return Explanation(
            "succeeded",
            None,
            text,
            exit_code=code,
            pod=_name(pod) or None if pod else None,
            notes=diagnosis.list_notes(job, pods, None, events),
        )
    if ended == "failed":
        problem = diagnosis.diagnose_failed_job(job, pods, events)[0]
        return _from_problem(
            "failed", f"Job {name} failed", problem, diagnosis.list_notes(job, pods, problem, events), name
        )
    if job_conditions.condition(job, "FailureTarget"):
        problem = diagnosis.diagnose_failed_job(job, pods, events)[0]
        said = [f"The Job has not ended yet: {job_conditions.describe_failure(job)}; its pods are being stopped"]
        return _from_problem(
            "running", f"Job {name} is failing", problem, said + diagnosis.list_notes(job, pods, problem, events), name
        )
    return _explain_active(job, pods, events)


def _explain_active(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> Explanation:
    name = _name(job)
    running = [pod for pod in pods if _runs(pod)]
    problem = diagnosis.diagnose_active_job(job, pods, events)
    status = job.get("status") or {}
    if job_conditions.condition(job, "SuccessCriteriaMet"):
        text = f"Job {name} has reached its success, and its last pods are being stopped"
        return Explanation("running", None, text, notes=diagnosis.list_notes(job, pods, None, events))
    state: State = "running" if running or (not pods and status.get("ready")) else "waiting"
    said = diagnosis.list_notes(job, pods, problem, events)
    if problem and problem.container and _is_sidecar_only(problem):
        # Told, and no reason to end the run.
        text = f"Job {name} runs{_where(running)}"
        return Explanation(state, None, text, notes=[f"{problem.detail}", *said])
    if problem:
        verb = "does not end" if running else "waits"
        return _from_problem(state, f"Job {name} {verb}", problem, said, name)
    if running:
        return Explanation("running", None, f"Job {name} runs{_where(running)}", notes=said)
    return Explanation(state, None, _waiting_text(job, pods), notes=said + _failed_before(job, pods, events))


def _is_sidecar_only(problem: categories.Problem) -> bool:
    return problem.grace_s == float("inf") and problem.detail.startswith("sidecar ")


def _failed_before(job: Object, pods: Sequence[Object], events: Sequence[Object]) -> list[str]:
    problems = [
        found for pod in pods if _phase(pod) == "Failed" and (found := pod_ends.diagnose_ended_pod(pod, events, job))
    ]
    return [f"{item.detail} (pod {item.pod})" for item in problems]


def _waiting_text(job: Object, pods: Sequence[Object]) -> str:
    name, status = _name(job), job.get("status") or {}
    waiting = [pod for pod in pods if _phase(pod) not in pod_problems.TERMINAL]
    if waiting:
        reasons = [
            str(entry["state"]["waiting"].get("reason"))
            for pod in waiting
            for entry in _statuses(pod)
            if ((entry.get("state") or {}).get("waiting") or {}).get("reason")
        ]
        why = ", ".join(dict.fromkeys(reasons)) or "no node yet"
        return f"Job {name} is starting: pod {_name(waiting[0])} is not yet running ({why})"
    if pods:
        limit = (job.get("spec") or {}).get("backoffLimit")
        return f"Job {name} starts its next pod: {len(pods)} have ended (backoffLimit {6 if limit is None else limit})"
    if status.get("active"):
        return f"Job {name} has {status['active']} active pods, which are not in the dump"
    return f"Job {name} has no pods yet"


def _from_problem(state: State, what: str, problem: categories.Problem, said: list[str], name: str) -> Explanation:
    found = problem.diagnosis()
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
        retryable=issubclass(problem.kind, errors.TransientError),
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
                categories.Category.UNKNOWN, "It failed, and no container tells why", pod=_name(pod)
            )
            problem = pod_ends.diagnose_ended_pod(pod, dump.events) or unknown
            return _from_problem(
                "failed", f"Pod {_name(pod)} failed", problem, diagnosis.list_notes({}, pods, problem), _name(pod)
            )
    problem_now = diagnosis.diagnose_active_job({}, pods, dump.events)
    running = [pod for pod in pods if _runs(pod)]
    if problem_now:
        state: State = "running" if running else "waiting"
        said = diagnosis.list_notes({}, pods, problem_now)
        return _from_problem(state, f"Pod {problem_now.pod}", problem_now, said, problem_now.pod)
    if all(_phase(pod) == "Succeeded" for pod in pods):
        text = f"{'Pod ' + _name(pods[0]) if len(pods) == 1 else f'All {len(pods)} pods'} succeeded"
        return Explanation(
            "succeeded",
            None,
            text,
            exit_code=diagnosis.find_exit_code(pods),
            pod=_name(pods[0]),
            notes=diagnosis.list_notes({}, pods),
        )
    if running:
        return Explanation(
            "running",
            None,
            f"Pod {_name(running[0])} runs",
            pod=_name(running[0]),
            notes=diagnosis.list_notes({}, pods),
        )
    return Explanation(
        "waiting", None, f"Pod {_name(pods[0])} is not yet running", notes=diagnosis.list_notes({}, pods)
    )


def _counts(job: Object) -> str:
    succeeded = (job.get("status") or {}).get("succeeded")
    return f" ({succeeded} pods succeeded)" if isinstance(succeeded, int) and succeeded > 1 else ""


def _where(running: Sequence[Object]) -> str:
    if len(running) != 1:
        return f" in {len(running)} pods"
    node = (running[0].get("spec") or {}).get("nodeName")
    return f" in pod {_name(running[0])}{f' on {node}' if node else ''}"


def _runs(pod: Object) -> bool:
    """Whether one of its containers runs."""
    return _phase(pod) == "Running" and any((entry.get("state") or {}).get("running") for entry in _statuses(pod))


def _statuses(pod: Object) -> list[Object]:
    return list((pod.get("status") or {}).get("containerStatuses") or ())


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase") or "")


def _name(item: Object) -> str:
    return str((item.get("metadata") or {}).get("name") or "")
