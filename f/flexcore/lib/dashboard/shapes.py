# requirements: flexcore_base
"""What the dashboard's reads return, as pydantic models: the contract between the steps and the page.

Times are RFC 3339 in UTC, durations seconds. What was not measured is null, never 0. Text of users is data, never
markup.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, field_validator

from f.flexcore.lib.core import contracts
from f.flexcore.lib.windmill import client, execution_models

PARTS = ("executions", "execution", "runtimes", "comparison", "selection", "deployments", "orphans", "stops")
StepStatus = Literal["waiting", "queued", "running", "suspended", "success", "failure", "skipped", "canceled"]
LABEL = client.DASHBOARD_LABEL


class Filter(contracts.Contract):
    """Which executions are shown; empty fields are no condition."""

    workflow: str | None = Field(default=None, max_length=255)
    runtime: str | None = Field(default=None, max_length=60)
    status: execution_models.Status | None = None
    since: datetime | None = None
    until: datetime | None = None

    @field_validator("workflow", "runtime", "status", "since", "until", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("since", "until")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        """A time that names no zone is in UTC."""
        if value is None or value.tzinfo is None:
            return value and value.replace(tzinfo=UTC)
        try:
            return value.astimezone(UTC)
        except OverflowError:
            raise ValueError("is no time of the calendar in UTC") from None


class Server(contracts.Contract):
    version: str | None = None
    url: str | None = None
    workspace: str
    user: str
    engine: Literal["windmill", "embedded"] = "windmill"


class Notice(contracts.Contract):
    """What the page says about itself: a part that could not be read, an older server, a missing setting."""

    code: str
    severity: Literal["info", "warning", "error"]
    message: str
    remedy: str | None = None


class Row(contracts.Contract):
    """One execution. runtimes: all that share the work, empty in rows of an older index; runtime: the one, null when
    they are several or none. failed_step, error, rows, cost: null also where the result was not read for the list.
    source: index when Windmill has forgotten the job and the row is of our own index."""

    id: str
    workflow: str
    runtime: str | None = None
    runtimes: list[str] = []
    status: execution_models.Status
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: float | None = None
    created_by: str = ""
    failed_step: str | None = None
    error: str | None = None
    rows: int | None = None
    cost: float | None = None
    currency: str | None = None
    source: Literal["windmill", "index"] = "windmill"


class Executions(contracts.Contract):
    """rows: newest first. removed: ids that are gone since the cursor. older: for read_executions. counts: null where
    not all were read. workflows: those that are deployed, with a whole first page."""

    rows: list[Row]
    workflows: list[str] = []
    removed: list[str] = []
    older: str | None = None
    counts: dict[str, int] | None = None


class Can(contracts.Contract):
    """Whether an action is possible here and now for who asks, and why not."""

    allowed: bool
    reason: str | None = None


class Restart(Can):
    """resumes: whether it keeps what was finished, by name in `kept` (stages, containers), as far as that still holds;
    else all of the workflow runs again."""

    resumes: bool = False
    kept: list[str] = []


class Event(contracts.Contract):
    """at: null when it lies between the events beside it."""

    at: datetime | None = None
    kind: str
    message: str
    cause: str | None = None


class Parts(contracts.Contract):
    """Seconds of a step: waited for its runtime, got ready there, worked, handed on. began_at: when the first of them
    that is known began, by the runtime's clock; null where Windmill's measured them."""

    queued: float | None = None
    starting: float | None = None
    running: float | None = None
    finishing: float | None = None
    began_at: datetime | None = None


class Step(contracts.Contract):
    """id: module ids from the outermost on, such as `attempts[0].attempt.ray.run`; parent: the id it is in."""

    id: str
    summary: str
    status: StepStatus
    runtime: str | None = None
    job: str | None = None
    attempt: int | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    parts: Parts = Parts()
    remote: contracts.Remote | None = None
    diagnosis: contracts.Diagnosis | None = None
    output: dict[str, Any] | None = None
    events: list[Event] = []
    reused: bool = False
    parent: str | None = None


class LastGood(contracts.Contract):
    id: str
    request: dict[str, Any]


class Abilities(contracts.Contract):
    cancel: Can
    restart: Restart
    debug_bundle: Can


class Trace(contracts.Contract):
    """url: of its page, where the settings say where traces are shown."""

    id: str
    url: str | None = None


class Detail(contracts.Contract):
    """cut: whether `result` was too large and is its beginning as text. version: of the flexcore that made it. trace:
    where the workspace traces, and this execution's is kept."""

    row: Row
    url: str | None = None
    request: dict[str, Any] | None = None
    last_good: LastGood | None = None
    steps: list[Step] = []
    error: execution_models.ExecutionError | None = None
    result: Any = None
    cut: bool = False
    version: str | None = None
    trace: Trace | None = None
    can: Abilities


class Lease(contracts.Contract):
    name: str
    owner: str
    until: datetime


class Runtime(contracts.Contract):
    """leases: null where they cannot be told."""

    name: str
    resource: str | None = None
    healthy: bool | None = None
    problem: str | None = None
    remedy: str | None = None
    capabilities: dict[str, Any] = {}
    free: dict[str, float | None] = {}
    queue: int | None = None
    leases: list[Lease] | None = None
    checked_at: datetime | None = None


class Recommendation(contracts.Contract):
    runtime: str
    reason: str


class RuntimeFigures(contracts.Contract):
    """runs: all of them; samples: those that succeeded, which the durations stand on; rows_samples, cost_samples: those
    of them whose rows or cost are known. note: why they are not to be relied on."""

    runtime: str
    runs: int
    samples: int
    rows_samples: int
    cost_samples: int
    note: str | None = None
    success_rate: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    rows_per_s: float | None = None
    cost: float | None = None
    currency: str | None = None


class DayFigures(contracts.Contract):
    day: str
    runtime: str
    runs: int
    p50_s: float | None = None
    p95_s: float | None = None


class Comparison(contracts.Contract):
    """runs: those that the figures stand on; since, until: when the first and the last of them began. newest: of the
    executions of all workflows that the run index does not have only so many, the newest, were read; null when all
    were. no_choice: why no runtime is recommended. days: of the run index, so further back than Windmill keeps jobs."""

    workflow: str
    runs: int
    since: datetime | None = None
    until: datetime | None = None
    newest: int | None = None
    recommendation: Recommendation | None = None
    no_choice: str | None = None
    runtimes: list[RuntimeFigures] = []
    days: list[DayFigures] = []


class Candidate(contracts.Contract):
    runtime: str
    allowed: bool
    reason: str | None = None
    forecast_s: float | None = None
    forecast_cost: float | None = None
    score: float | None = None


class Selection(contracts.Contract):
    """Why this runtime: of one execution, with what came of it."""

    execution: str
    at: datetime
    workflow: str
    chosen: str
    reasons: list[str] = []
    candidates: list[Candidate] = []
    forecast_s: float | None = None
    real_s: float | None = None
    forecast_cost: float | None = None
    real_cost: float | None = None
    currency: str | None = None


class DeployedVersion(contracts.Contract):
    version: str
    weight: int | None = None
    ready: bool | None = None
    created_at: datetime | None = None
    run: str | None = None


class Deployment(contracts.Contract):
    """revision: rises with each change of what answers; former_revision: that of `former`. A roll back that names them
    is refused once something else answers."""

    name: str
    namespace: str | None = None
    runtime: str
    resource: str | None = None
    url: str | None = None
    versions: list[DeployedVersion] = []
    revision: int | None = None
    former: str | None = None
    former_revision: int | None = None
    can_roll_back: Can


class Orphan(contracts.Contract):
    """since: when the object was created."""

    runtime: str
    kind: str
    name: str
    uid: str | None = None
    owner: str | None = None
    since: datetime | None = None
    overdue_s: float | None = None


class Mark(contracts.Contract):
    """Who did something, and when."""

    at: datetime
    by: str


class Stop(contracts.Contract):
    """A workflow that is stopped, or was: canceled are the executions that the stop has ended."""

    id: str
    workflow: str
    at: datetime
    by: str
    reason: str
    canceled: list[str] = []
    undone: Mark | None = None


class Dashboard(contracts.Contract):
    """The answer of read_dashboard; a part that was not asked for is null, as is one that could not be read. unread: by
    part, the places that could not be read; what is there is not in the part. cursor: gives only what changed since.
    full: whether the rows are the whole first page."""

    now: datetime
    version: str
    server: Server
    notices: list[Notice] = []
    unread: dict[str, list[str]] = {}
    cursor: str = ""
    full: bool = True
    executions: Executions | None = None
    execution: Detail | None = None
    runtimes: list[Runtime] | None = None
    comparison: list[Comparison] | None = None
    selection: list[Selection] | None = None
    deployments: list[Deployment] | None = None
    orphans: list[Orphan] | None = None
    stops: list[Stop] | None = None
