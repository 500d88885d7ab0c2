# requirements: flexcore_base
"""Runs a Python program as a Ray job and returns its result.

The program finds its `parameters` as a global, and leaves its answer in a global `result` (any JSON):

    result = {"total": sum(range(parameters["n"]))}
"""

from typing import Any, Literal

from f.flexcore.lib.ray import program_job

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    program: str,
    parameters: dict | None = None,
    secrets: dict | None = None,
    num_cpus: float = 0,
    num_gpus: float = 0,
    memory_gib: float = 0,
    label_selector: dict | None = None,
    packages: list[str] | None = None,
    runtime_env: dict | None = None,
    timeout_s: int = 3600,
    own_cluster: dict | None = None,
    wait: Literal["block", "defer"] = "block",
    deferred: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return program_job.RUN_PROGRAM.run(locals())
