# requirements: flexcore_base
"""Looks for better parameters of an algorithm by Ray Tune, within bounds, for a training to take."""

from typing import Any, Literal

from f.flexcore.lib.ray import search_job

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
    cpus_per_worker: float = 1,
    label_selector: dict | None = None,
    packages: list[str] | None = None,
    space: dict | None = None,
    trials: int = 20,
    search_s: int = 1800,
    own_cluster: dict | None = None,
    search_usd: float | None = None,
    publish_model: bool = False,
    model_name: str = "model",
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return search_job.SEARCH.run(locals())
