# requirements: flexcore_base
"""Predicts a value for every row of a stream, on Ray Data, and hands on the predictions as a manifest."""

from typing import Any, Literal

from f.flexcore.lib.ray import predict_job

c_ray_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_ray_cluster,
    model: dict,
    source: dict,
    stream: str = "",
    keep: list[str] | None = None,
    id_column: str = "",
    format: Literal["parquet", "csv", "jsonl"] = "parquet",
    num_workers: int = 1,
    cpus_per_worker: float = 1,
    label_selector: dict | None = None,
    packages: list[str] | None = None,
    timeout_s: int = 3600,
    own_cluster: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return predict_job.PREDICT.run(locals())
