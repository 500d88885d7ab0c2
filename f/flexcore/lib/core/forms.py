# requirements: flexcore_base
"""What a caller asks of the data pipeline: where the data is, and how each runtime would do the work.

Each runtime's form is that of its execute flow, without resources and secrets; those that are given are the candidates.
What only the runtime can judge (a program that compiles, an image's name) is left to its own check.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from f.flexcore.lib.core import requests, resources, units

Wait = Literal["block", "defer", "auto"]


class DataSource(resources.Form):
    """Where the data lies, to be measured there; size and rows are taken as they are said and win over a measure.

    uris: files, globs or folders: paths of the worker, file://… or s3://…; tables: of the PostgreSQL database, all of
    them when empty; manifest: what an earlier stage handed on.
    """

    uris: list[str] = []
    tables: list[str] = []
    manifest: dict[str, Any] | None = None
    size: int | None = Field(default=None, ge=0)
    rows: int | None = Field(default=None, ge=0)

    @field_validator("size", mode="before")
    @classmethod
    def _size_in_bytes(cls, value: Any) -> int | None:
        return units.parse_size(value)


class MeltanoWork(requests.ExtractionRequest):
    """Taps into a target."""

    allow_empty: bool = False
    mappings: list[str] = []
    tap_settings: dict[str, Any] | None = None
    target_settings: dict[str, Any] | None = None


class RayWork(requests.Section):
    """A training or a program. source: the manifest that a training reads; data.manifest when it is empty."""

    operation: Literal["train", "program"] = "program"
    source: dict[str, Any] | None = None
    algorithm: str = "xgboost"
    target_column: str = ""
    stream: str = ""
    features: list[str] = []
    task: Literal["auto", "regression", "classification"] = "auto"
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    date_parts: bool = True
    model_name: str = "model"
    num_workers: int = Field(default=1, ge=1)
    cpus_per_worker: float = Field(default=1, gt=0)
    use_gpu: bool = False
    program: str = ""
    parameters: dict[str, Any] = {}
    secrets: dict[str, Any] = {}
    num_cpus: float = Field(default=0, ge=0)
    num_gpus: float = Field(default=0, ge=0)
    memory_gib: float = Field(default=0, ge=0)
    runtime_env: dict[str, Any] | None = None
    packages: list[str] = []
    timeout_s: int = Field(default=3600, ge=1)
    wait: Wait = "block"

    @model_validator(mode="after")
    def _says_what_to_do(self) -> RayWork:
        needed = "target_column" if self.operation == "train" else "program"
        if not getattr(self, needed).strip():
            raise ValueError(f"operation {self.operation} needs a {needed}")
        return self


class KubernetesWork(requests.Section):
    """A container, or a whole Job manifest."""

    namespace: str = ""
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[str] = []
    secret_env: list[str] = []
    secrets: dict[str, Any] = {}
    cpu: requests.CpuQuantity = ""
    memory: requests.MemoryQuantity = ""
    gpus: int = Field(default=0, ge=0)
    manifest: dict[str, Any] | None = None
    service_account: str = ""
    run_as_user: int | None = Field(default=None, ge=0)
    timeout_s: int | None = Field(default=None, ge=1)
    queue_timeout_s: int = Field(default=600, ge=1)
    ttl_s: int = Field(default=3600, ge=0)
    wait: Wait = "block"


class DeclaredWork(resources.Form):
    """What the caller knows of the work himself; each wins over what the analysis finds."""

    complexity: Literal["simple", "complex", "ml"] | None = None
    cpu: float | None = Field(default=None, ge=0)
    memory: int | None = Field(default=None, ge=0)
    gpu: float | None = Field(default=None, ge=0)
    scaling: Literal["low", "medium", "high"] | None = None
    parallelizable: bool | None = None
    containerized: bool | None = None
    step_type: str | None = None

    @field_validator("memory", mode="before")
    @classmethod
    def _memory_in_bytes(cls, value: Any) -> int | None:
        return units.parse_size(value)


FORMS: dict[str, type[resources.Form]] = {"meltano": MeltanoWork, "ray": RayWork, "kubernetes": KubernetesWork}
