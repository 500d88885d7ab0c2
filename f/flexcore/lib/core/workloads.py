# requirements: flexcore_base
"""The contracts of the selection: what is to be done, what was done before, and which runtime was chosen for it.

Workload    one pipeline or one step that waits for a runtime
WorkHints   what the request of one runtime says about its work
Run         one finished execution of the history
Market      what the runtimes are and cost now
Selection   the answer: the runtime, every candidate, and why

Sizes are bytes, durations seconds, money US dollars. What is not known is null; a null field means its default.
What is beyond MAX_DURATION_S or MAX_COST_USD is taken for an error.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from f.flexcore.lib.core import contracts, errors

# 30,000 years; the annual product of the world.
MAX_DURATION_S, MAX_COST_USD = 1e12, 1e14
# Of rows, cores and GPUs.
MAX_AMOUNT = 2**63 - 1

Complexity = Literal["simple", "complex", "ml"]
Scaling = Literal["low", "medium", "high"]
Objective = Literal["cost", "time", "balanced"]
Mode = Literal["rules", "learned", "pinned"]


class NullableContract(contracts.Contract):
    """A contract with finite numbers, in which null stands for the default."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value


@dataclass(frozen=True, slots=True)
class WorkHints:
    """What the request of one runtime says about its work; None where it says nothing. The reasons are for people."""

    complexity: Complexity | None = None
    complexity_reason: str = ""
    cpu: float | None = None
    memory_bytes: int | None = None
    gpu: float | None = None
    scaling: Scaling | None = None
    scaling_reason: str = ""
    parallelizable: bool = False
    containerized: bool = False


def parse_size(value: Any) -> int | None:
    """Bytes of a size as people write it, for a validator. Raises ValueError, as `units.parse_size` does."""
    # Only who gives a size pays for the import.
    from f.flexcore.lib.core import units

    return units.parse_size(value)


class WorkloadResources(NullableContract):
    """What one run asks for: cores, bytes of memory, GPUs, and how far it can be spread."""

    cpu: float | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    memory: int | None = Field(default=None, ge=0)
    gpu: float | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    scaling: Scaling | None = None
    parallelizable: bool | None = None
    containerized: bool | None = None

    @field_validator("memory", mode="before")
    @classmethod
    def _parse_memory(cls, value: Any) -> int | None:
        return parse_size(value)


class Workload(NullableContract):
    """runtimes: those that the pipeline describes. deadline_s: seconds from now. step_type: null for a pipeline.
    data_location: where the data lies, a name in the settings' `egress_usd_per_gib`."""

    workflow_type: str = Field(min_length=1)
    data_size: int | None = Field(default=None, ge=0)
    rows: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
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
    def _parse_size(cls, value: Any) -> int | None:
        return parse_size(value)

    @field_validator("deadline_s")
    @classmethod
    def _check_deadline(cls, value: float | None) -> float | None:
        if value is not None and value <= 0:
            raise ValueError("the deadline has passed; give seconds from now, or null for none")
        return value


class Run(contracts.Contract):
    """One row of history. duration_s: of the whole run; null for a failed run that was not measured."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=(), allow_inf_nan=False, defer_build=True)

    workflow_type: str
    runtime: str
    data_size_bytes: int | None = Field(default=None, ge=0)
    rows: int | None = Field(default=None, ge=0, le=MAX_AMOUNT)
    complexity: Complexity | None = None
    started_at: datetime | None = None
    duration_s: float | None = Field(default=None, ge=0, le=MAX_DURATION_S)
    cost_usd: float | None = Field(default=None, ge=0, le=MAX_COST_USD)
    success: bool

    @field_validator("data_size_bytes", mode="before")
    @classmethod
    def _parse_size(cls, value: Any) -> int | None:
        return parse_size(value)

    @field_validator("started_at")
    @classmethod
    def _to_utc(cls, value: datetime | None) -> datetime | None:
        try:
            return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))
        except OverflowError:
            raise ValueError("the time must lie in the years 1 to 9999") from None

    @model_validator(mode="after")
    def _check_duration(self) -> Run:
        if self.success and not self.duration_s:
            raise ValueError("a run that succeeded must have a duration_s above 0")
        return self


class Price(NullableContract):
    """US dollars; null means that it is not known."""

    cpu_hour: float | None = Field(default=None, ge=0, le=MAX_COST_USD)
    memory_gib_hour: float | None = Field(default=None, ge=0, le=MAX_COST_USD)
    gpu_hour: float | None = Field(default=None, ge=0, le=MAX_COST_USD)


class RuntimeState(NullableContract):
    """What is known about one runtime now: whether it may be used, and what comes on top of the run itself.

    priority: 1 goes first where neither rules nor history tell runtimes apart; null comes last.
    startup_s, queue_s: seconds before the run, which durations of the history do not include.
    location: where it computes; moving data there costs the settings' egress price.
    """

    enabled: bool = True
    priority: int | None = Field(default=None, ge=1, le=MAX_AMOUNT)
    healthy: bool | None = None
    namespace: str | None = None
    startup_s: float | None = Field(default=None, ge=0, le=MAX_DURATION_S)
    queue_s: float | None = Field(default=None, ge=0, le=MAX_DURATION_S)
    price: Price = Price()
    location: str | None = None


class Market(NullableContract):
    """The settings of a selection.

    min_samples: successful runs of a runtime before its forecast is trusted.
    failure_cost_factor: the cost of a failed run, as a multiple of that of a successful one.
    egress_usd_per_gib: from a location to any other, by the location that the data leaves.
    """

    runtimes: dict[str, RuntimeState] = {}
    min_samples: int = Field(default=5, ge=1)
    failure_cost_factor: float = Field(default=1, ge=0, le=MAX_COST_USD)
    egress_usd_per_gib: dict[str, Annotated[float, Field(ge=0, le=MAX_COST_USD)]] = {}

    @field_validator("runtimes", mode="before")
    @classmethod
    def _fill_states(cls, value: Any) -> Any:
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
    """One runtime in the choice. samples: successful runs that its forecast comes from. success_probability and
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
    namespace: where the runtime runs it; null for a runtime without namespaces.
    """

    runtime: str | None
    mode: Mode
    reason: str
    error: str | None = None
    namespace: str | None = None
    candidates: list[Candidate] = []


def read_runs(rows: Iterable[Any]) -> tuple[list[Run], list[str]]:
    """Return the usable rows, and what is wrong with each of the others."""
    runs, problems = [], []
    for number, row in enumerate(rows, 1):
        try:
            runs.append(errors.validate(Run, row, f"history row {number}"))
        except errors.FlexcoreError as error:
            problems.append(str(error))
    return runs, problems
