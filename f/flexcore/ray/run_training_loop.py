# requirements: flexcore_base
"""Runs a training loop of one's own on Ray Train's workers, with checkpoints, and goes on from the last one."""

from typing import Any, Literal

from f.flexcore.lib.ray import loop_job

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    program: str,
    config: dict | None = None,
    source: dict | None = None,
    stream: str = "",
    test_fraction: float = 0,
    num_workers: int = 1,
    cpus_per_worker: float = 1,
    use_gpu: bool = False,
    checkpoint_every: int = 1,
    stop_metric: str = "",
    stop_mode: Literal["min", "max"] = "min",
    early_stopping_steps: int = 5,
    max_failures: int = 3,
    resume_from: str = "",
    packages: list[str] | None = None,
    timeout_s: int = 3600,
    own_cluster: dict | None = None,
    wait: Literal["block", "defer"] = "block",
    deferred: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return loop_job.TRAINING_LOOP.run(locals())
