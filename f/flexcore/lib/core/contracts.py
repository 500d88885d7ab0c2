# requirements: flexcore_base
"""What steps return and hand on, as pydantic models; their JSON Schemas are the public contract.

StepResult      one step on one runtime
Manifest        what a stage hands on: DataManifest | ModelManifest | EndpointManifest, distinguished by `kind`
PipelineResult  a whole pipeline, finished or failed
FlowFailure     a template that failed

Below them the arithmetic of manifests: one checksum and one schema hash for many files and columns.
A number that was not measured is null, never 0. Sizes are bytes, durations seconds, checksums `sha256:<hex>`.
"""

from __future__ import annotations

import atexit
import gc
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from f.flexcore.lib.core import errors

# Of this bundle, for what another one reads: pages, reports, debug bundles.
VERSION = "0.1.0"
# By which Windmill finds the runs of flexcore, and who reads one knows which version made it.
LABELS = ("flexcore", f"flexcore:{VERSION}")
WORKFLOW_LABEL, RUNTIME_LABEL = "workflow:", "runtime:"
PLAN_LABEL = "plan"
# The category of a start that a stopped workflow refuses, and the label of its run.
WORKFLOW_STOPPED = "workflow_stopped"
CHECKSUM = r"^sha256:[0-9a-f]{64}$"
Stage = Literal["extraction", "ml", "deployment"]

# What a step imported lives until its process ends. Python would then search all of it for cycles, pydantic's classes
# above all, which takes a quarter of the processor time of the imports themselves.
atexit.register(gc.freeze)


class Contract(BaseModel):
    """Unknown fields are refused: a misspelt field must not pass as an absent one."""

    # Built when it is first used: a step uses few of them.
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), defer_build=True)

    def plain(self) -> dict[str, Any]:
        """The JSON form, which is all that may leave a step: Windmill cannot serialize a model."""
        plain: dict[str, Any] = finite(self.model_dump(mode="json"))
        return plain


def finite(value: Any) -> Any:
    """The value with null in place of NaN and infinity, which are no JSON."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ShownContract(Contract):
    """A result of a step or a flow: what it is read from may have its page beside it."""

    @model_validator(mode="before")
    @classmethod
    def _drop_page(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or "wm_renderer" not in value:
            return value
        # Only who reads a result with a page pays for this import.
        from f.flexcore.lib.core import result_page

        return result_page.drop_page(value)


class File(Contract):
    """One stored file, by its path below the manifest's `uri`."""

    path: str = Field(min_length=1)
    bytes: int = Field(ge=0)
    checksum: str = Field(pattern=CHECKSUM)


class Stream(Contract):
    """One table of an extraction: its rows, columns (name → JSON type) and files."""

    name: str = Field(min_length=1)
    rows: int | None = Field(default=None, ge=0)
    bytes: int = Field(ge=0)
    columns: dict[str, str] = {}
    schema_hash: str | None = None
    files: list[File] = []


class BaseManifest(Contract):
    """What every manifest says: where it is, in which form, how much, and how to verify it."""

    uri: str = Field(min_length=1)
    format: str = Field(min_length=1)
    bytes: int | None = Field(default=None, ge=0)
    rows: int | None = Field(default=None, ge=0)
    schema_hash: str | None = None
    checksum: str | None = Field(default=None, pattern=CHECKSUM)


class DataManifest(BaseManifest):
    """Extracted data: a folder at `uri` with the files of each stream."""

    kind: Literal["data"] = "data"
    streams: list[Stream] = Field(min_length=1)


class Column(Contract):
    """One column of a model's signature; `datatype` is an Open Inference Protocol v2 datatype."""

    name: str
    datatype: Literal["BOOL", "INT64", "FP64", "BYTES"]


class Signature(Contract):
    inputs: list[Column] = Field(min_length=1)
    outputs: list[Column] = Field(min_length=1)


class Framework(Contract):
    """The library that trained a model, with the version that can read it back."""

    name: str
    version: str


class ModelManifest(BaseManifest):
    """A trained model: a folder at `uri` that a server can load; `rows` is the size of the training split.

    versions: what it was trained with, distribution → version, python among them; empty in manifests that are older.
    card: the path of its model card among `files`, "" without one.
    """

    kind: Literal["model"] = "model"
    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
    version: str
    algorithm: str
    target: str
    framework: Framework
    signature: Signature
    metrics: dict[str, float | None]
    example: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    card: str = ""
    files: list[File] = Field(min_length=1)


class EndpointManifest(BaseManifest):
    """A deployed model: `url` answers the Open Inference Protocol v2 below `/v2`."""

    kind: Literal["endpoint"] = "endpoint"
    format: str = "http"
    url: str
    protocol: Literal["oip-v2"] = "oip-v2"
    model_name: str
    model_version: str


Manifest = Annotated[DataManifest | ModelManifest | EndpointManifest, Field(discriminator="kind")]


class ResourceUsage(Contract):
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    gpu_seconds: float | None = None


class Timings(Contract):
    """Seconds that the work waited, started up, ran, and was brought home, one after the other. began_at: when the
    first of them that is known began, by the runtime's own clock."""

    queued: float | None = None
    starting: float | None = None
    running: float | None = None
    finishing: float | None = None
    began_at: datetime | None = None


class Remote(Contract):
    """The object that did the work: a Kubernetes Job, a Ray job, a Meltano run."""

    kind: str
    name: str
    uid: str | None = None
    url: str | None = None


class Diagnosis(Contract):
    """How a remote object ended: a stable category, what was seen, what to do."""

    category: str
    detail: str
    remedy: str


class Trace(Contract):
    """Where a step stands in its run's trace. caller: the span of a foreign trace that the run was called from;
    is_exported: whether the collector has taken the step's spans; reconcile delivers those that it has not."""

    trace_id: str
    span_id: str
    caller: str = ""
    is_sampled: bool = True
    is_exported: bool = False


class StepResult(ShownContract):
    """wm_labels: by which Windmill finds the job again; trace: with an OpenTelemetry endpoint in the settings; both are
    set when the result leaves the step."""

    success: bool
    runtime: str
    execution_key: str
    attempt: int = Field(ge=1)
    data: dict[str, Any] = {}
    output: Manifest | None = None
    metrics: dict[str, float | int | None] = {}
    resource_usage: ResourceUsage = ResourceUsage()
    timings: Timings = Timings()
    remote: Remote | None = None
    diagnosis: Diagnosis | None = None
    log_tail: str = ""
    trace: Trace | None = None
    wm_labels: list[str] = []

    def plain(self) -> dict[str, Any]:
        return super().plain() | {"wm_labels": [*LABELS, f"runtime:{self.runtime}"]}


class StageResult(Contract):
    """A finished stage; handed back as a partial result it lets a later run skip the stage.

    request: a digest of what was asked of it; a run that asks for something else does not skip it (None: unknown).
    """

    stage: Stage
    reused: bool = False
    result: StepResult
    request: str | None = None


class FlowFailure(ShownContract):
    """The result of a failed template. `failed_step` is the step's id; `details` what its error knows: a diagnosis, the
    remote object, the tail of a log; `run` the page of the run; `notified` None when no notification was wanted;
    `wm_labels` by which Windmill finds the run again, its flow's own say on which runtime it ran."""

    success: Literal[False] = False
    error: str
    kind: str = ""
    failed_step: str = ""
    category: str = ""
    subject: str = ""
    remedy: str = ""
    retryable: bool = False
    details: dict[str, Any] = {}
    run: str = ""
    notified: bool | None = None
    wm_labels: list[str] = []

    def plain(self) -> dict[str, Any]:
        return super().plain() | {"wm_labels": [*LABELS, *label_refusal(self.kind, self.category)]}


class PipelineResult(ShownContract):
    """A hybrid pipeline. A success has its stages, a failure the finished ones as partial_results for the next run.

    error: what failed, short enough to be seen at once; detail: the whole message, where it says more. wm_labels: as
    those of a StepResult, with the runtime of every stage that finished, and that of a deployment that failed.
    """

    success: bool
    error: str | None = None
    detail: str | None = None
    stages: list[StageResult] = []
    final_endpoint: str | None = None
    failed_stage: Stage | None = None
    partial_results: list[StageResult] = []
    wm_labels: list[str] = []

    def plain(self) -> dict[str, Any]:
        finished = self.stages or self.partial_results
        runtimes = [f"runtime:{item.result.runtime}" for item in finished]
        labels = dict.fromkeys([*LABELS, "workflow:hybrid_pipeline", *runtimes, *self.wm_labels])
        return super().plain() | {"wm_labels": list(labels)}


def label_refusal(kind: str, category: str) -> list[str]:
    """The label of a run that did not begin, as its workflow is stopped; [] of any other, such as one that went on
    until a part of it was found stopped. kind, category: of the error that it ended with."""
    return [WORKFLOW_STOPPED] if (kind, category) == ("Conflict", WORKFLOW_STOPPED) else []


def schema_hash(columns: Mapping[str, str]) -> str:
    """Hash of column names and types, whatever their order."""
    return "sha256:" + hashlib.sha256(json.dumps(sorted(columns.items())).encode()).hexdigest()


def compute_checksum(files: Iterable[File]) -> str:
    """One checksum over many files: the hash of their sorted paths and checksums."""
    lines = sorted(f"{file.path} {file.checksum}\n" for file in files)
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def list_files(manifest: DataManifest | ModelManifest) -> list[File]:
    """All files that a manifest vouches for."""
    if isinstance(manifest, ModelManifest):
        return manifest.files
    return [file for stream in manifest.streams for file in stream.files]


def check_consistent(manifest: DataManifest | ModelManifest) -> None:
    """Raises ManifestMismatch when a manifest contradicts itself (edited or damaged)."""
    files = list_files(manifest)
    if not files:
        raise errors.ManifestMismatch(
            f"The manifest of {manifest.uri} lists no files",
            subject=manifest.uri,
            remedy="Run the stage that produced it again.",
        )
    if manifest.checksum != compute_checksum(files):
        raise errors.ManifestMismatch(
            f"The manifest of {manifest.uri} does not match its own checksum",
            subject=manifest.uri,
            remedy="Pass the manifest on unchanged, or run the stage that produced it again.",
        )


def check_file(manifest_uri: str, expected: File, actual: File | None) -> None:
    """Raises ManifestMismatch when a stored file (None: absent) is not the one that the manifest promises."""
    if actual is None:
        problem = "is missing"
    elif actual.bytes != expected.bytes:
        problem = f"has {actual.bytes} bytes instead of {expected.bytes}"
    elif actual.checksum != expected.checksum:
        problem = "has another checksum"
    else:
        return
    raise errors.ManifestMismatch(
        f"{expected.path} at {manifest_uri} {problem}",
        subject=expected.path,
        remedy="Run the stage that produced it again.",
    )


def find_stream(manifest: DataManifest, name: str) -> str:
    """The name of the stream to use: the given one, or the only one. Raises InvalidInput with the choices."""
    names = [stream.name for stream in manifest.streams]
    if name in names or (not name and len(names) == 1):
        return name or names[0]
    problem = f"No stream is named {name!r}" if name else "The data has several streams and none is named"
    raise errors.InvalidInput(problem, subject="stream", remedy=f"Choose one of: {', '.join(names)}.")
