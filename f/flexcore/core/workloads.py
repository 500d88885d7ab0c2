# requirements: flexcore_base
# py: ==3.11.*
"""What is to be done, what was done before, and which runtime was chosen for it: the words of the selection.

Workload    one pipeline or one step that waits for a runtime
Run         one finished execution, as history tells it
Market      what the runtimes are and cost now
Selection   the answer: the runtime, every candidate, and why

Sizes are bytes, durations seconds, money US dollars. What is not known is null.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, field_validator

from f.flexcore.core.contracts import Contract
from f.flexcore.core.sizes import parsed_size

Complexity = Literal["simple", "complex", "ml"]
Scaling = Literal["low", "medium", "high"]
Objective = Literal["cost", "time", "balanced"]
Mode = Literal["rules", "learned", "pinned"]


class WorkloadResources(Contract):
    """What one run asks for: cores, bytes of memory, GPUs, and how far it can be spread."""

    cpu: float | None = Field(default=None, ge=0)
    memory: int | None = Field(default=None, ge=0)
    gpu: float | None = Field(default=None, ge=0)
    scaling: Scaling | None = None
    parallelizable: bool | None = None
    containerized: bool | None = None

    @field_validator("memory", mode="before")
    @classmethod
    def _memory_in_bytes(cls, value: Any) -> int | None:
        return parsed_size(value)


class Workload(Contract):
    """runtimes: those that the pipeline describes. deadline_s: seconds from now. step_type: null for a pipeline."""

    workflow_type: str = Field(min_length=1)
    data_size: int | None = Field(default=None, ge=0)
    rows: int | None = Field(default=None, ge=0)
    complexity: Complexity | None = None
    resources: WorkloadResources = WorkloadResources()
    step_type: str | None = None
    runtimes: list[str] = Field(min_length=1)
    deadline_s: float | None = Field(default=None, gt=0)
    objective: Objective = "balanced"
    pin: str | None = None

    @field_validator("data_size", mode="before")
    @classmethod
    def _size_in_bytes(cls, value: Any) -> int | None:
        return parsed_size(value)


class Run(Contract):
    """One row of history."""

    workflow_type: str
    runtime: str
    data_size_bytes: int | None = Field(default=None, ge=0)
    rows: int | None = Field(default=None, ge=0)
    complexity: Complexity | None = None
    started_at: datetime | None = None
    duration_s: float = Field(ge=0)
    cost_usd: float | None = Field(default=None, ge=0)
    success: bool


class Price(Contract):
    """US dollars; null means that nobody said."""

    cpu_hour: float | None = Field(default=None, ge=0)
    memory_gib_hour: float | None = Field(default=None, ge=0)
    gpu_hour: float | None = Field(default=None, ge=0)


class RuntimeState(Contract):
    """What is known about one runtime now: whether it may be used, and what comes on top of the run itself."""

    enabled: bool = True
    healthy: bool | None = None
    namespace: str | None = None
    startup_s: float | None = Field(default=None, ge=0)
    queue_s: float | None = Field(default=None, ge=0)
    price: Price = Price()


class Market(Contract):
    """The settings of a selection.

    min_samples: finished runs of a runtime before its forecast is trusted.
    failure_cost_factor: what a failed run costs, in the cost of a good one.
    """

    runtimes: dict[str, RuntimeState] = {}
    min_samples: int = Field(default=5, ge=1)
    failure_cost_factor: float = Field(default=1, ge=0)


class Interval(Contract):
    """The next single run lies below p10 in one of ten cases, below p90 in nine of ten."""

    p10: float
    p50: float
    p90: float


class Candidate(Contract):
    """One runtime in the choice. samples: finished runs that its forecast comes from."""

    runtime: str
    eligible: bool
    samples: int = 0
    duration_s: Interval | None = None
    cost_usd: Interval | None = None
    success_probability: float | None = None
    deadline_probability: float | None = None
    reason: str


class Selection(Contract):
    """runtime is null and error says why when none is suitable."""

    runtime: str | None
    mode: Mode
    reason: str
    error: str | None = None
    candidates: list[Candidate] = []
