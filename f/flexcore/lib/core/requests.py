# requirements: flexcore_base
"""What a caller asks of the hybrid pipeline, stage by stage, as plain forms without resources or secrets.

Quantities of cpu and memory are Kubernetes' (`500m`, `1Gi`); Ray's own units are derived from them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from f.flexcore.lib.core import dimensions, errors, resources

# Source: Kubernetes' quantity notation, the suffixes that make sense for cpu and memory.
UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)")
GIB = 2.0**30


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: cores for cpu, bytes for memory. ValueError when it is none or zero."""
    match = QUANTITY.fullmatch(text.strip())
    if not match or not float(match[1]):
        raise ValueError(f"{text!r} is not an amount such as 500m or 2 (cpu), 512Mi or 1Gi (memory)")
    return float(match[1]) * UNITS[match[2]]


def _cpu(value: Any) -> str:
    return _amount("cpu", value)


def _memory(value: Any) -> str:
    return _amount("memory", value)


def _amount(resource: str, value: Any) -> str:
    """ValueError with the spelling that was probably meant when the amount is of another dimension (500m of memory)."""
    quantity(str(value))
    try:
        dimensions.check_amount(resource, value, "")
    except errors.InvalidInput as error:
        raise ValueError(str(error).removeprefix(": ")) from None
    return str(value)


CpuQuantity = Annotated[str, BeforeValidator(_cpu)]
MemoryQuantity = Annotated[str, BeforeValidator(_memory)]


class Section(resources.Form):
    """A part of a flow's form. more: whether the form shows all fields; it decides nothing, and is in no result."""

    more: bool = Field(default=False, exclude=True)


class ExtractionRequest(Section):
    """Which taps of the project to run into which target. `config` holds `PLUGIN.SETTING=VALUE` lines."""

    taps: list[str] = Field(min_length=1)
    target: str = "target-jsonl"
    environment: str = ""
    full_refresh: bool = False
    select: list[str] = []
    config: list[str] = []
    timeout_s: int = Field(default=3600, ge=1)


class MlRequest(Section):
    """What to learn from the extracted data: `target_column` of `stream` from `features` (all others when empty).

    date_parts: whether year, month, day, day of week, hour and days since 1970 of points in time are features.
    wait: whether the training holds a worker (block) or not (defer); auto defers from ten minutes of expected_s on.
    """

    algorithm: str = "xgboost"
    parameters: dict[str, Any] = {}
    target_column: str
    stream: str = ""
    features: list[str] = []
    task: Literal["auto", "regression", "classification"] = "auto"
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    date_parts: bool = True
    model_name: str = Field(default="model", pattern=r"^[a-z]([-a-z0-9]{0,48}[a-z0-9])?$")
    num_workers: int = Field(default=1, ge=1)
    cpus_per_worker: float = Field(default=1, gt=0)
    use_gpu: bool = False
    packages: list[str] = []
    timeout_s: int = Field(default=3600, ge=1)
    wait: Literal["block", "defer", "auto"] = "block"
    expected_s: float | None = Field(default=None, ge=0)


class ComputeResources(resources.Form):
    """What each replica of a deployed model may use."""

    cpu: CpuQuantity = "500m"
    memory: MemoryQuantity = "1Gi"


class DeploymentRequest(Section):
    """Where the model is to answer. namespace, image and model_source matter on Kubernetes alone."""

    target: Literal["ray", "kubernetes"] = "ray"
    replicas: int = Field(default=1, ge=1)
    resources: ComputeResources = ComputeResources()
    namespace: str = ""
    image: str = ""
    model_source: str = ""
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    timeout_s: int = Field(default=600, ge=1)
