# requirements: flexcore_base
"""Trains a model on a stream of extracted data, on Ray, and hands on the model with its metrics on held-out rows."""

from typing import Any, Literal

from f.flexcore.lib.ray import train_job

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    source: dict,
    target_column: str,
    stream: str = "",
    algorithm: str = "xgboost",
    parameters: dict | None = None,
    features: list[str] | None = None,
    task: Literal["auto", "regression", "classification", "ranking"] = "auto",
    test_fraction: float = 0.2,
    date_parts: bool = True,
    group_column: str = "",
    class_weights: list[str] | None = None,
    model_name: str = "model",
    num_workers: int = 1,
    cpus_per_worker: float = 1,
    memory_gib_per_worker: float = 0,
    use_gpu: bool = False,
    label_selector: dict | None = None,
    early_stopping_rounds: int = 0,
    recovery: dict | None = None,
    packages: list[str] | None = None,
    timeout_s: int = 3600,
    own_cluster: dict | None = None,
    wait: Literal["block", "defer"] = "block",
    deferred: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return train_job.TRAIN.run(locals())
