# requirements: flexcore_base
"""The base rules: which runtime suits a workload when nothing is known from its past. Pure.

pipeline     below 10 GB and simple → meltano · above 100 GB or ml → ray · scaling high → kubernetes · else meltano
single step  singer_tap or dbt_model → meltano · resource-intensive and parallelizable → ray
             · containerized and scalable → kubernetes · else meltano

A step is resource-intensive when it asks for more than INTENSIVE, or for a GPU, or reads more than 100 GB;
it is scalable when its scaling is medium or high. A size that nobody knows is neither below nor above anything.
"""

from __future__ import annotations

from collections.abc import Iterator

from f.flexcore.lib.core import requests, units, workloads

GB = 10**9
SMALL, LARGE = 10 * GB, 100 * GB
MELTANO_STEPS = ("singer_tap", "dbt_model")
# More than a usual worker (4 cores, 16 GiB) offers.
INTENSIVE_CPU, INTENSIVE_MEMORY = 4, 16 * requests.GIB


def preferences(workload: workloads.Workload) -> list[tuple[str, str]]:
    """(runtime, why) for every runtime that a rule leads to, the rules' pick first; meltano is always among them.

    When the pick cannot be had, the next rule that holds decides, and so on.
    """
    found: dict[str, str] = {}
    for runtime, why in _steps(workload) if workload.step_type else _pipelines(workload):
        found.setdefault(runtime, why)
    return list(found.items())


def _pipelines(workload: workloads.Workload) -> Iterator[tuple[str, str]]:
    size = workload.data_size
    if size is not None and size < SMALL and workload.complexity == "simple":
        yield "meltano", f"{units.shown_size(size)} is below 10 GB and the work is simple"
    if size is not None and size > LARGE:
        yield "ray", f"{units.shown_size(size)} is above 100 GB"
    if workload.complexity == "ml":
        yield "ray", "the work is machine learning"
    if workload.resources.scaling == "high":
        yield "kubernetes", "its scaling is high"
    yield "meltano", "no other rule applies"


def _steps(workload: workloads.Workload) -> Iterator[tuple[str, str]]:
    asked = workload.resources
    if workload.step_type in MELTANO_STEPS:
        yield "meltano", f"{workload.step_type} is a step of Meltano's"
    if asked.parallelizable and _intensive(workload):
        yield "ray", "the step is resource-intensive and parallelizable"
    if asked.containerized and asked.scaling in ("medium", "high"):
        yield "kubernetes", f"the step is containerized and its scaling is {asked.scaling}"
    yield "meltano", "no other rule applies to the step"


def _intensive(workload: workloads.Workload) -> bool:
    asked = workload.resources
    return (
        (asked.cpu or 0) > INTENSIVE_CPU
        or (asked.memory or 0) > INTENSIVE_MEMORY
        or (asked.gpu or 0) > 0
        or (workload.data_size or 0) > LARGE
    )
