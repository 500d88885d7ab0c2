# requirements: flexcore_base
"""What is to be done, what was done before, and which runtime was chosen for it: the words of the selection.

Workload    one pipeline or one step that waits for a runtime
Run         one finished execution, as history tells it
Market      what the runtimes are and cost now
Selection   the answer: the runtime, every candidate, and why

Sizes are bytes, durations seconds, money US dollars. What is not known is null; a null field means its default.
What is beyond LONGEST or DEAREST is taken for an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from f.flexcore.lib.core import contracts, errors, units

# What there is to run on.
RUNTIMES = ("meltano", "ray", "kubernetes")
# 30,000 years; the annual product of the world.
LONGEST, DEAREST = 1e12, 1e14
# Of rows, cores and GPUs.
MOST = 2**63 - 1

Complexity = Literal["simple", "complex", "ml"]
Scaling = Literal["low", "medium", "high"]
Objective = Literal["cost", "time", "balanced"]
Mode = Literal["rules", "learned", "pinned"]


class Facts(contracts.Contract):
    """Numbers are finite, and null stands for the default."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _null_means_default(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


class WorkloadResources(Facts):
    """What one run asks for: cores, bytes of memory, GPUs, and how far it can be spread."""

    cpu: float | None = Field(default=None, ge=0, le=MOST)
    memory: int | None = Field(default=None, ge=0)
    gpu: float | None = Field(default=None, ge=0, le=MOST)
    scaling: Scaling | None = None
    parallelizable: bool | None = None
    containerized: bool | None = None

    @field_validator("memory", mode="before")
    @classmethod
    def _memory_in_bytes(cls, value: Any) -> int | None:
        return units.parsed_size(value)


class Workload(Facts):
    """runtimes: those that the pipeline describes. deadline_s: seconds from now. step_type: null for a pipeline.
    data_location: where the data lies, a name in the settings' `locations`."""

    workflow_type: str = Field(min_length=1)
    data_size: int | None = Field(default=None, ge=0)
    rows: int | None = Field(default=None, ge=0, le=MOST)
    complexity: Complexity | None = None
    resources: WorkloadResources = WorkloadResources()
    step_type: str | None = None
    runtimes: list[str]
    deadline_s: float | None = None
    objective: Objective = "balanced"
    pin: str | None = None
    data_location: str | None = None

    @field_validator("data_size", mode="before")
    @classmethod
    def _size_in_bytes(cls, value: Any) -> int | None:
        return units.parsed_size(value)

    @field_validator("deadline_s")
    @classmethod
    def _still_to_come(cls, value: float | None) -> float | None:
        if value is not None and value <= 0:
            raise ValueError("the deadline has passed; give seconds from now, or null for none")
        return value


class Run(contracts.Contract):
    """One row of history. duration_s: the whole run as it was seen; null for a failed run that nobody timed."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=(), allow_inf_nan=False)

    workflow_type: str
    runtime: str
    data_size_bytes: int | None = Field(default=None, ge=0)
    rows: int | None = Field(default=None, ge=0, le=MOST)
    complexity: Complexity | None = None
    started_at: datetime | None = None
    duration_s: float | None = Field(default=None, ge=0, le=LONGEST)
    cost_usd: float | None = Field(default=None, ge=0, le=DEAREST)
    success: bool

    @field_validator("data_size_bytes", mode="before")
    @classmethod
    def _size_in_bytes(cls, value: Any) -> int | None:
        return units.parsed_size(value)

    @field_validator("started_at")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        try:
            return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))
        except OverflowError:
            raise ValueError("the time lies outside the years 1 to 9999") from None

    @model_validator(mode="after")
    def _a_good_run_took_time(self) -> Run:
        if self.success and not self.duration_s:
            raise ValueError("a run that succeeded took more than 0 seconds")
        return self


class Price(Facts):
    """US dollars; null means that nobody said."""

    cpu_hour: float | None = Field(default=None, ge=0, le=DEAREST)
    memory_gib_hour: float | None = Field(default=None, ge=0, le=DEAREST)
    gpu_hour: float | None = Field(default=None, ge=0, le=DEAREST)


class RuntimeState(Facts):
    """What is known about one runtime now: whether it may be used, and what comes on top of the run itself.

    priority: 1 goes first where neither rules nor history tell runtimes apart; null comes last.
    startup_s, queue_s: seconds before the run that history's durations do not hold.
    location: where it computes; moving data there costs the settings' egress price.
    """

    enabled: bool = True
    priority: int | None = Field(default=None, ge=1, le=MOST)
    healthy: bool | None = None
    namespace: str | None = None
    startup_s: float | None = Field(default=None, ge=0, le=LONGEST)
    queue_s: float | None = Field(default=None, ge=0, le=LONGEST)
    price: Price = Price()
    location: str | None = None


class Market(Facts):
    """The settings of a selection.

    min_samples: finished runs of a runtime before its forecast is trusted.
    failure_cost_factor: what a failed run costs, in the cost of a good one.
    egress_usd_per_gib: from a location to any other, by the location that the data leaves.
    """

    runtimes: dict[str, RuntimeState] = {}
    min_samples: int = Field(default=5, ge=1)
    failure_cost_factor: float = Field(default=1, ge=0, le=DEAREST)
    egress_usd_per_gib: dict[str, Annotated[float, Field(ge=0, le=DEAREST)]] = {}

    @field_validator("runtimes", mode="before")
    @classmethod
    def _null_means_default_state(cls, value: Any) -> Any:
        return (
            {name: {} if state is None else state for name, state in value.items()}
            if isinstance(value, dict)
            else value
        )


class Interval(contracts.Contract):
    """The next single run lies below p10 in one of ten cases, below p90 in nine of ten."""

    p10: float
    p50: float
    p90: float


class Candidate(contracts.Contract):
    """One runtime in the choice. samples: finished runs that its forecast comes from. success_probability and
    deadline_probability: of the next single run, the latter with start-up and queue, and a failed run misses it."""

    runtime: str
    eligible: bool
    samples: int = 0
    duration_s: Interval | None = None
    cost_usd: Interval | None = None
    success_probability: float | None = None
    deadline_probability: float | None = None
    reason: str


class Selection(contracts.Contract):
    """runtime is null and error says why when none is suitable.

    candidates: the best first, so that the next eligible one takes over when the chosen one fails to start.
    namespace: where Kubernetes runs it; null for another runtime.
    """

    runtime: str | None
    mode: Mode
    reason: str
    error: str | None = None
    namespace: str | None = None
    candidates: list[Candidate] = []


def read_runs(rows: Iterable[Any]) -> tuple[list[Run], list[str]]:
    """The rows that can be used, and what is wrong with each of the others."""
    runs, problems = [], []
    for number, row in enumerate(rows, 1):
        try:
            runs.append(errors.validated(Run, row, f"history row {number}"))
        except errors.FlexcoreError as error:
            problems.append(str(error))
    return runs, problems
