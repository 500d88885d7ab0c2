"""The state of one flow job: how far it is, how each module stands, how often it was retried.

    WaitingForPriorSteps → WaitingForExecutor | InProgress | WaitingForEvents → Success | Failure

The shape of `as_json` is that of Windmill's `flow_status`, which clients read.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

WAITING = ("WaitingForPriorSteps", "WaitingForEvents", "WaitingForExecutor")
# What Windmill gives for a module that ran no job, such as a loop over nothing.
NO_JOB = "00000000-0000-0000-0000-000000000000"
MAX_RETRY_WAIT_S = 6 * 3600

Kind = Literal["WaitingForPriorSteps", "WaitingForEvents", "WaitingForExecutor", "InProgress", "Success", "Failure"]


@dataclass
class ModuleState:
    id: str
    type: Kind = "WaitingForPriorSteps"
    job: str | None = None
    flow_jobs: list[str] | None = None
    flow_jobs_success: list[bool | None] | None = None
    branch_chosen: dict[str, Any] | None = None
    parallel: bool = False
    # A loop's position and items; for a while loop the items are None.
    index: int | None = None
    items: list[Any] | None = None
    # The position in a branchall, and how many branches it has.
    branch: int | None = None
    branches: int = 0
    skipped: bool = False
    approvers: list[dict[str, Any]] = field(default_factory=list)
    failed_retries: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def is_loop(self) -> bool:
        return self.type == "InProgress" and self.index is not None

    @property
    def is_branchall(self) -> bool:
        return self.type == "InProgress" and self.branch is not None

    @property
    def jobs(self) -> str | list[str] | None:
        """The job or jobs that hold the module's result."""
        return self.flow_jobs if self.flow_jobs is not None else self.job

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": self.id, "type": self.type}
        for name in ("job", "flow_jobs", "flow_jobs_success", "branch_chosen"):
            if getattr(self, name) is not None:
                shown[name] = getattr(self, name)
        if self.type == "InProgress":
            shown["parallel"] = self.parallel
            if self.index is not None:
                shown["iterator"] = {"index": self.index, "itered_len": len(self.items or ())}
                shown["while_loop"] = self.items is None
            if self.branch is not None:
                shown["branchall"] = {"branch": self.branch, "len": self.branches}
        if self.type == "Success":
            shown |= {"approvers": self.approvers, "skipped": self.skipped}
        if self.type == "WaitingForEvents":
            shown["count"] = self.count
        if self.failed_retries:
            shown["failed_retries"] = self.failed_retries
        return shown


@dataclass
class FlowState:
    modules: list[ModuleState]
    step: int = 0
    failure: ModuleState = field(default_factory=lambda: ModuleState("failure"))
    failure_parent: str | None = None
    fail_count: int = 0
    failed_jobs: list[str] = field(default_factory=list)
    preprocessor: ModuleState | None = None

    @property
    def at_failure_step(self) -> bool:
        return self.step >= len(self.modules)

    @property
    def current(self) -> ModuleState:
        return self.failure if self.at_failure_step else self.modules[self.step]

    def set_current(self, state: ModuleState) -> None:
        if self.at_failure_step:
            self.failure = state
        else:
            self.modules[self.step] = state

    def forget_retries(self) -> None:
        self.fail_count, self.failed_jobs = 0, []

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "step": self.step,
            "modules": [module.as_json() for module in self.modules],
            "failure_module": {**self.failure.as_json(), "parent_module": self.failure_parent},
        }
        if self.preprocessor is not None:
            shown["preprocessor_module"] = self.preprocessor.as_json()
        if self.fail_count:
            shown["retry"] = {"fail_count": self.fail_count, "failed_jobs": self.failed_jobs}
        return shown


def retry_wait(retry: dict[str, Any], failures: int) -> float | None:
    """Seconds to the next attempt after that many failures, or None when the attempts are used up.

    The constant attempts go first; then multiplier * seconds ^ (failures + 1), give or take the random factor in
    per cent. Windmill counts the constant attempts in that exponent as well.
    """
    constant, exponential = retry.get("constant") or {}, retry.get("exponential") or {}
    constant_attempts = constant.get("attempts", 0)
    if failures < constant_attempts:
        return float(min(constant.get("seconds", 0), MAX_RETRY_WAIT_S))
    if failures - constant_attempts >= exponential.get("attempts", 0):
        return None
    seconds = exponential.get("multiplier", 1) * min(exponential.get("seconds", 0) ** (failures + 1), 65535)
    factor = min(exponential.get("random_factor") or 0, 100)
    if factor > 0:
        share = seconds * random.randrange(factor) // 100
        seconds += share if random.random() < 0.5 else -share
    return float(min(seconds, MAX_RETRY_WAIT_S))


def has_attempts(retry: dict[str, Any] | None) -> bool:
    retry = retry or {}
    return any((retry.get(kind) or {}).get("attempts", 0) for kind in ("constant", "exponential"))
