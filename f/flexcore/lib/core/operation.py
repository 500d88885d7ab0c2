# requirements: flexcore_base
"""What a runtime can do: its operations, and what a step asks of one.

Runtime ─operations─→ Operation ─parse─→ Invocation ─┬─ check    what needs no service
                                                     ├─ plan     what the service says; changes nothing
                                                     ├─ sources  where the data of the work lies
                                                     └─ execute  does the work
An invocation with wait: defer ends once the work is submitted; see the end of this file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, identity, resources, workloads

Request = TypeVar("Request", bound=resources.Form)
Service = TypeVar("Service", bound=resources.Resource)
# (number, remote object, seconds since the epoch at which it was watched from and to, its result, its error)
OnAttempt = Callable[
    [int, contracts.Remote, tuple[float, float], contracts.StepResult | None, errors.FlexcoreError | None], None
]
# Arguments of a step that are no part of its request.
CONTEXT = ("settings", "deferred")
# Makes the page of a plain result. By address, as pages stand above this level, and only work that has ended has one.
PAGE = "f.flexcore.lib.views.result_pages:show_step"


@dataclass(frozen=True, slots=True)
class Invocation(Generic[Request, Service]):
    """One call of an operation. service: the resource that says where; call: the Windmill job that asks; is_deferred:
    whether to return once the work is submitted; on_attempt: told of each attempt that has ended."""

    runtime: str
    request: Request
    service: Service
    settings: resources.Settings
    key: identity.ExecutionKey
    call: str = ""
    is_deferred: bool = False
    on_attempt: OnAttempt | None = None


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where a part of a request's data lies, for whoever measures it there.

    name: what reads it. One of paths and database is given, else `unknown` says why neither is. paths: files, globs or
    folders, relative ones below `base`; database: the fields of a `postgresql` resource, its password among them;
    is_read: whether a table (schema, name) of the database is; None: all of them.
    """

    name: str
    base: Path | None = None
    paths: tuple[str, ...] = ()
    database: Mapping[str, Any] | None = None
    is_read: Callable[[str, str], bool] | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Operation(Generic[Request, Service]):
    """One kind of work of a runtime.

    request: the fields of its form; service_field: the argument that holds the resource.
    check(request, service, settings): raises InvalidInput for every problem that needs no service. service is None
    where it is not known yet.
    plan(invocation): asks the service and changes nothing; its result says what would be used.
    execute(invocation): the plain result of the work.
    sources(invocation): where the data lies that the work would read, when its own configuration says so; changes
    nothing and raises what plan raises. None for an operation whose data comes from an earlier stage.
    """

    runtime: str
    name: str
    request: type[Request]
    service: type[Service]
    check: Callable[[Request, Service | None, resources.Settings], None]
    plan: Callable[[Invocation[Request, Service]], contracts.StepResult]
    execute: Callable[[Invocation[Request, Service]], dict[str, Any]]
    service_field: str = "cluster"
    sources: Callable[[Invocation[Request, Service]], list[DataSource]] | None = None

    def parse(self, arguments: Mapping[str, Any], where: str = "") -> Request:
        """The request in a step's or a form's arguments, resource and settings left aside. Raises InvalidInput that
        names every wrong field below `where`."""
        fields = {name: value for name, value in arguments.items() if name not in (self.service_field, *CONTEXT)}
        return errors.validate(self.request, fields, where)

    def parse_service(self, arguments: Mapping[str, Any], where: str = "") -> Service:
        field = f"{where}.{self.service_field}" if where else self.service_field
        return errors.validate(self.service, arguments.get(self.service_field) or {}, field)

    def invoke(self, arguments: Mapping[str, Any], env: Mapping[str, str] = os.environ) -> Invocation[Request, Service]:
        """A step's arguments as a checked call. Raises InvalidInput."""
        request, service = self.parse(arguments), self.parse_service(arguments)
        settings = errors.validate(resources.Settings, arguments.get("settings") or {}, "settings")
        self.check(request, service, settings)
        deferred = arguments.get("deferred")
        key, call = read_key_and_call(env, deferred)
        waits = is_deferred(getattr(request, "wait", None), deferred)
        return Invocation(self.runtime, request, service, settings, key, call, waits)

    def run(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The result of a step with these arguments: plain data, and the page that people see of it."""
        return show(self._execute_traced(self.invoke(arguments)))

    def _execute_traced(self, invocation: Invocation[Request, Service]) -> dict[str, Any]:
        if not invocation.settings.otlp_endpoint:
            return self.execute(invocation)
        # Only who traces pays for it.
        from f.flexcore.lib.core import step_trace

        return step_trace.run_traced(self.execute, invocation)


def show(plain: dict[str, Any]) -> dict[str, Any]:
    """The plain result of a step with its page."""
    shown: dict[str, Any] = resolve(PAGE)(plain, os.environ)
    return shown


def check_nothing(request: resources.Form, service: Any, settings: resources.Settings) -> None:
    """The `check` of an operation whose request says all that can be wrong with it."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A place where work runs, by addresses (`module:NAME`) that are imported only when they are needed.

    worker_tag: of the workers that run its steps, where the configuration names no other.
    service, resource_type, service_field: the Windmill resource that says where it is, its type, and the form's field
    that holds it; a runtime that needs none has an empty type.
    operations: by name. pipeline_operations: those that data_pipeline has a branch for; a form that names none means
    the first.
    health: function of (place) for a runtime of the worker itself, of (place, resource, namespace) for another.
    clusters_field: of the settings, the list of its resources' paths; None for a runtime of the worker itself.
    hints: function of a plain request, the WorkHints that the choice of a runtime starts from; "" when it has none.
    objects: class of RemoteObjects, made of (place, resource, namespace); "" when it leaves none.
    queue: class of WaitingWork, made of (place, resource, settings): work that waits for room in a cluster; "" when
    none does.
    objects_in: further such classes, by another list of clusters in the settings whose resources they are made of; ""
    for one that is made of the settings themselves, once.
    needs_service: whether its resource must be chosen; one that does not runs where the worker is.
    has_namespaces: whether a selection for it says a namespace.
    namespace: function of (request or None, resource or None, settings, default) that chooses it; asks no service.
    """

    name: str
    summary: str
    worker_tag: str
    operations: Mapping[str, str]
    pipeline_operations: tuple[str, ...]
    health: str
    service: type[resources.Resource] = resources.Resource
    service_field: str = "cluster"
    resource_type: str = ""
    clusters_field: str | None = None
    objects: str = ""
    queue: str = ""
    objects_in: Mapping[str, str] = field(default_factory=dict)
    hints: str = ""
    needs_service: bool = True
    has_namespaces: bool = False
    namespace: str = ""

    def operation(self, name: str | None = None) -> Operation[Any, Any]:
        """Raises InvalidInput that lists what there is."""
        chosen = name or self.pipeline_operations[0]
        if chosen not in self.operations:
            raise errors.InvalidInput(
                f"operation: {self.name} has no {chosen!r}",
                subject="operation",
                remedy=f"Use one of {', '.join(self.operations)}.",
            )
        found: Operation[Any, Any] = resolve(self.operations[chosen])
        return found

    def derive_hints(self, request: Mapping[str, Any]) -> workloads.WorkHints:
        """What a plain request says about its work."""
        hints: workloads.WorkHints = resolve(self.hints)(request) if self.hints else workloads.WorkHints()
        return hints


def resolve(address: str) -> Any:
    """What `module:NAME` names; imports the module."""
    module, _, name = address.partition(":")
    return getattr(import_module(module), name)


# --- deferral: work that is waited for without a worker. One step submits, its flow is suspended, another collects.
#
# submit (wait: defer) ──→ suspended ──`operations/reconcile` sees the end──→ collect (deferred: what submit said)
# Both steps name the same execution, so that the second attaches to what the first has started and finds out for
# itself how it ended, whoever resumed the flow.

BLOCK, DEFER = "block", "defer"


class Deferred(resources.Form):
    """What the submitting step hands to the collecting one: its execution key, and the Windmill job that it was."""

    execution_key: str = Field(pattern=r"^fc-[0-9a-f]{20}$")
    call: str = ""


def read_key_and_call(env: Mapping[str, str], deferred: Any) -> tuple[identity.ExecutionKey, str]:
    """This step's own key and job, or those of the step that has submitted. Raises InvalidInput."""
    key, call = identity.execution_key(env), env.get("WM_JOB_ID", "")
    if not deferred:
        return key, call
    given = errors.validate(Deferred, deferred, "deferred")
    return replace(key, value=given.execution_key), given.call


def is_deferred(wait: str | None, deferred: Any) -> bool:
    """Whether to return as soon as the work is submitted. Raises InvalidInput for an unknown word."""
    if wait not in (None, "", BLOCK, DEFER):
        raise errors.InvalidInput(
            f"wait: {wait!r} is neither {BLOCK} nor {DEFER}", subject="wait", remedy="Use one of them."
        )
    return wait == DEFER and not deferred


def deferral_labels(deferred: bool) -> dict[str, str]:
    return {identity.DEFERRED: "true"} if deferred else {}


def report_submission(
    runtime: str, key: identity.ExecutionKey, call: str, attempt: int, remote: contracts.Remote
) -> dict[str, Any]:
    """The result of a step that has only submitted: a StepResult, and `description`, which Windmill shows beside the
    suspended flow's buttons."""
    print("The flow now waits without a worker; operations/reconcile resumes it when the work has ended", flush=True)
    given = Deferred(execution_key=key.value, call=call)
    result = contracts.StepResult(
        success=True,
        runtime=runtime,
        execution_key=key.value,
        attempt=attempt,
        data={"deferred": given.model_dump(mode="json")},
        remote=remote,
    )
    return result.plain() | {"description": {"markdown": _describe_wait(runtime, remote)}}


def _describe_wait(runtime: str, remote: contracts.Remote) -> str:
    what = f"[`{remote.name}`]({remote.url})" if remote.url else f"`{remote.name}`"
    return (
        f"The {remote.kind.replace('_', ' ')} {what} works on {runtime}; this flow holds no worker meanwhile. There is "
        "nothing to approve: the schedule `f/flexcore/operations/reconcile` resumes the flow when the work has ended. "
        "*Resume* goes on at once, and waits for the end with a worker; *Cancel* ends the flow, and the next pass of "
        "the schedule stops the work."
    )


# --- health

# ready    work can be sent to it
# limited  work can be sent, but something it may need is missing (a right, free resources, a tool to be installed)
# down     it does not answer, or refuses
HealthState = Literal["ready", "limited", "down"]


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one runtime, and what it can take on now. What could not be measured is None.

    cpus in cores, memory in bytes; queue: all work that waits or runs there now; detail: what is wrong and what to
    do about it; capabilities: what it can do, for programs.
    """

    runtime: str
    place: str
    state: HealthState
    version: str | None = None
    cpus_free: float | None = None
    cpus_total: float | None = None
    gpus_free: float | None = None
    memory_free: float | None = None
    queue: int | None = None
    detail: str = ""
    capabilities: dict[str, Any] | None = None
