"""Results of steps and flows as they really are, made by the contracts."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import contracts

CHECKSUM = "sha256:" + "0" * 64
FILE = contracts.File(path="a.jsonl", bytes=10, checksum=CHECKSUM)
DATA = contracts.DataManifest(
    uri="s3://bucket/data",
    format="jsonl",
    bytes=3_200_000,
    rows=1234,
    streams=[contracts.Stream(name="orders", rows=1234, bytes=3_200_000, files=[FILE])],
)
MODEL = contracts.ModelManifest(
    uri="s3://bucket/model",
    format="onnx",
    rows=900,
    name="delays",
    version="7",
    algorithm="boosting",
    target="delay",
    framework=contracts.Framework(name="xgboost", version="3"),
    signature=contracts.Signature(
        inputs=[contracts.Column(name="a", datatype="FP64")], outputs=[contracts.Column(name="b", datatype="FP64")]
    ),
    metrics={"rmse": 1.5, "r2": None},
    files=[FILE],
)
ENDPOINT = contracts.EndpointManifest(
    uri="http://models/delays", url="http://models.example.com", model_name="delays", model_version="7"
)
ENV = {
    "WM_BASE_URL": "https://windmill.example.com/",
    "WM_WORKSPACE": "dev",
    "WM_FLOW_JOB_ID": "018f0000-0000-7000-8000-000000000001",
}


def step(runtime: str = "meltano", output: Any = DATA, **more: Any) -> contracts.StepResult:
    fields: dict[str, Any] = {
        "success": True,
        "runtime": runtime,
        "execution_key": "fc-" + "0" * 20,
        "attempt": 1,
        "output": output,
        "timings": {"queued": 1.0, "starting": 2.0, "running": 10.0},
        "remote": {"kind": "ray_job", "name": "fc-1", "url": "http://ray.example.com/#/jobs/1"},
        **more,
    }
    return contracts.StepResult.model_validate(fields)


def hybrid(*reused: str, count: int = 3, **more: Any) -> contracts.PipelineResult:
    results = (step(), step("ray", MODEL), step("kubernetes", ENDPOINT))
    names: tuple[contracts.Stage, ...] = ("extraction", "ml", "deployment")
    stages = [
        contracts.StageResult(stage=name, reused=name in reused, result=result)
        for name, result in list(zip(names, results, strict=True))[:count]
    ]
    fields = {"success": True, "stages": stages, "final_endpoint": ENDPOINT.url, **more}
    return contracts.PipelineResult(**fields)


def failed_hybrid() -> contracts.PipelineResult:
    stages = hybrid(count=1).stages
    return contracts.PipelineResult(
        success=False, error="ML processing failed: no room", failed_stage="ml", partial_results=stages
    )


def failure(**more: Any) -> dict[str, Any]:
    fields = {
        "error": "The head is gone. Start it.",
        "failed_step": "train",
        "category": "unreachable",
        "subject": "cluster",
        "remedy": "Start the head of the cluster.",
        "retryable": True,
        **more,
    }
    return contracts.FlowFailure.model_validate(fields).plain()


def data_pipeline(**more: Any) -> dict[str, Any]:
    """As the plain result has it; read back by DataPipelineResult in the tests."""
    interval = {"p10": 8.0, "p50": 12.0, "p90": 20.0}
    return {
        "success": True,
        "runtime": "meltano",
        "workload": {"workflow_type": "sync", "runtimes": ["ray", "meltano"]},
        "selection": {
            "runtime": "meltano",
            "mode": "learned",
            "reason": "it costs the least",
            "candidates": [{"runtime": "meltano", "eligible": True, "reason": "it costs the least"}],
        },
        "forecast": {"duration_s": interval, "cost_usd": None},
        "actual": {"duration_s": 14.0, "cost_usd": None, "rows": 1234, "bytes": 10},
        "attempts": [
            {"runtime": "ray", "started": False, "success": False, "duration_s": 0.5, "error": {"message": "no room"}},
            {"runtime": "meltano", "started": True, "success": True, "duration_s": 14.0},
        ],
        "result": step().plain(),
        **more,
    }
