# requirements: flexcore_base
"""The base rules: which runtime suits a workload when nothing is known from its past. Pure.

Each table is read from the top; the first rule that applies is the pick. A size that is not known is neither below nor
above anything. The rules are about these runtimes and no others: one that they do not name is chosen by its priority,
by history, or by a pin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from f.flexcore.lib.core import units, workloads

GB = 10**9
SMALL_BYTES, LARGE_BYTES = 10 * GB, 100 * GB
MELTANO_STEPS = ("singer_tap", "dbt_model")
# More than a usual worker (4 cores, 16 GiB) offers.
INTENSIVE_CPU, INTENSIVE_MEMORY_BYTES = 4, 16 * units.GIB


@dataclass(frozen=True, slots=True)
class Rule:
    """reason: why, with {size}, {step_type} and {scaling} of the workload."""

    condition: Callable[[workloads.Workload], bool]
    runtime: str
    reason: str


def _is_small_and_simple(workload: workloads.Workload) -> bool:
    return workload.data_size is not None and workload.data_size < SMALL_BYTES and workload.complexity == "simple"


def _is_large(workload: workloads.Workload) -> bool:
    return (workload.data_size or 0) > LARGE_BYTES


def _is_machine_learning(workload: workloads.Workload) -> bool:
    return workload.complexity == "ml"


def _scales_high(workload: workloads.Workload) -> bool:
    return workload.resources.scaling == "high"


def _is_meltano_step(workload: workloads.Workload) -> bool:
    return workload.step_type in MELTANO_STEPS


def _is_intensive_and_parallelizable(workload: workloads.Workload) -> bool:
    needs = workload.resources
    intensive = (
        (needs.cpu or 0) > INTENSIVE_CPU
        or (needs.memory or 0) > INTENSIVE_MEMORY_BYTES
        or (needs.gpu or 0) > 0
        or _is_large(workload)
    )
    return bool(needs.parallelizable) and intensive


def _is_containerized_and_scalable(workload: workloads.Workload) -> bool:
    return bool(workload.resources.containerized) and workload.resources.scaling in ("medium", "high")


def _always(workload: workloads.Workload) -> bool:
    return True


PIPELINE_RULES = (
    Rule(_is_small_and_simple, "meltano", "{size} is below 10 GB and the work is simple"),
    Rule(_is_large, "ray", "{size} is above 100 GB"),
    Rule(_is_machine_learning, "ray", "the work is machine learning"),
    Rule(_scales_high, "kubernetes", "its scaling is high"),
    Rule(_always, "meltano", "no other rule applies"),
)
STEP_RULES = (
    Rule(_is_meltano_step, "meltano", "{step_type} is a Meltano step"),
    Rule(_is_intensive_and_parallelizable, "ray", "the step is resource-intensive and parallelizable"),
    Rule(_is_containerized_and_scalable, "kubernetes", "the step is containerized and its scaling is {scaling}"),
    Rule(_always, "meltano", "no other rule applies to the step"),
)
# The runtimes that the rules know, and the namespace of those that have namespaces where nothing names another.
RUNTIMES = tuple(dict.fromkeys(rule.runtime for rule in (*PIPELINE_RULES, *STEP_RULES)))
NAMESPACE = "flext-production"
DEFAULT_NAMESPACES = {"kubernetes": NAMESPACE}


def rank_runtimes(workload: workloads.Workload) -> dict[str, str]:
    """Return runtime → why for every runtime that a rule leads to, the pick first; meltano is always among them.

    When the pick cannot be used, the next rule that applies decides, and so on.
    """
    reasons: dict[str, str] = {}
    for rule in STEP_RULES if workload.step_type else PIPELINE_RULES:
        if rule.condition(workload):
            reasons.setdefault(rule.runtime, _format_reason(rule.reason, workload))
    return reasons


def _format_reason(reason: str, workload: workloads.Workload) -> str:
    size = units.format_size(workload.data_size or 0)
    return reason.format(size=size, step_type=workload.step_type, scaling=workload.resources.scaling)
