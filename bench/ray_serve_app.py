"""An application that does nothing, for bench/ray_serve.py: it starts no replica until it is asked."""

from __future__ import annotations

from typing import Any

from ray import serve

SCALING = {"min_replicas": 0, "initial_replicas": 0, "max_replicas": 1}
deployment: Any = serve.deployment


@deployment(autoscaling_config=SCALING, ray_actor_options={"num_cpus": 0})
class Nothing:
    def __call__(self) -> str:
        return ""


bound: Any = Nothing
app = bound.bind()
