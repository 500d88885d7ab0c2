# requirements: flexcore_base
"""What a Ray request says about its work, for the choice of a runtime. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import units, workloads

# From so many workers on, a training is spread as far as one usually is.
HIGH_SCALING_WORKERS = 8


def derive_work_hints(request: Mapping[str, Any]) -> workloads.WorkHints:
    """Return the hints of a plain request, a training or a program."""
    is_training = request.get("operation") == "train"
    workers = int(request.get("num_workers") or 1) if is_training else 1
    cpu, gpu = float(request.get("num_cpus") or 0), float(request.get("num_gpus") or 0)
    if is_training:
        cpu = max(cpu, workers * float(request.get("cpus_per_worker") or 0))
        gpu = max(gpu, float(workers) if request.get("use_gpu") else 0.0)
    return workloads.WorkHints(
        complexity="ml" if is_training else "complex",
        complexity_reason="a model is trained" if is_training else "a program of the caller's own",
        cpu=cpu or None,
        memory_bytes=int(float(request.get("memory_gib") or 0) * units.GIB) or None,
        gpu=gpu or None,
        scaling="high" if workers >= HIGH_SCALING_WORKERS else "medium" if workers > 1 else "low",
        scaling_reason=f"{workers} Ray worker{'s' if workers > 1 else ''}",
        parallelizable=workers > 1 or is_training,
    )
