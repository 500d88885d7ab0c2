"""A workspace as the page of the dashboard sees it: what its scripts answer, kept in the shapes of lib/dashboard.

Every job that the page starts is in `calls`; `refuse` makes one fail as a typed error of the bundle does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from f.flexcore.lib.core import contracts, deployed_models, errors, monitoring, workloads
from f.flexcore.lib.dashboard import figures, notices, parts
from f.flexcore.lib.dashboard import read as steps_read
from f.flexcore.lib.pipeline import resume
from f.flexcore.lib.windmill import execution_models
from tests.dashboard import jobs

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
FAILED = "019375a0-0000-7000-8000-00000000fa11"
RUNNING = "019375a0-0000-7000-8000-000000000123"
GOOD = "019375a0-0000-7000-8000-000000000900"
# As rows name workflows: the path below the bundle's folder.
HYBRID = "hybrid_pipeline"
COPY = "data_pipeline"
NIGHTLY = "templates/nightly_copy"
ALLOWED = {"allowed": True, "reason": None}
MARKUP = "<img src=x onerror=\"document.title='owned'\"><b>orders</b>"


def at(seconds_ago: float) -> str:
    return (NOW - timedelta(seconds=seconds_ago)).isoformat().replace("+00:00", "Z")


def row(id: str, status: str, age_s: float, **fields: Any) -> dict[str, Any]:
    ended = status in ("success", "failure", "canceled", "skipped")
    duration = fields.get("duration_s", 184.2 if ended else None)
    runtime = fields.get("runtime", "ray")
    return {
        "id": id,
        "workflow": COPY,
        "runtime": "ray",
        "runtimes": [runtime] if runtime else [],
        "status": status,
        "created_at": at(age_s),
        "started_at": None if status == "queued" else at(age_s - 1),
        "ended_at": at(age_s - 1 - (duration or 0)) if ended else None,
        "duration_s": duration,
        "created_by": "ann",
        "failed_step": None,
        "error": None,
        "rows": 1_204_332 if status == "success" else None,
        "cost": 0.0312 if status == "success" else None,
        "currency": "EUR" if status == "success" else None,
        "source": "windmill",
    } | fields


def notice(code: str, severity: str, message: str, remedy: str | None = None) -> dict[str, Any]:
    return {"code": code, "severity": severity, "message": message, "remedy": remedy}


def many_rows(count: int) -> list[dict[str, Any]]:
    """Executions of every status, a minute apart, newest first."""
    statuses = ["success"] * 7 + ["failure", "canceled", "skipped"]
    runtimes = ["ray", "kubernetes", "meltano"]
    workflows = [COPY, HYBRID, NIGHTLY]
    return [
        row(
            f"019375a0-1111-7000-8000-{index:012d}",
            statuses[index % 10],
            3600 + 60 * index,
            workflow=workflows[index % 3],
            **({"runtime": None, "runtimes": runtimes} if index % 3 == 1 else {"runtime": runtimes[index % 3]}),
            duration_s=20 + index % 700,
            **({"failed_step": "train", "error": "OutOfMemory: worker 3 was killed"} if index % 10 == 7 else {}),
        )
        for index in range(count)
    ]


TRAIN_JOB = f"{jobs.KEY}-2"


def steps(live: bool = False) -> list[dict[str, Any]]:
    """Of an execution whose training has failed, or still runs."""
    streams = [contracts.Stream(name="orders", rows=1_204_332, bytes=91_224_110)]
    manifest = contracts.DataManifest(
        uri="s3://lake/orders/2026-11-28", format="parquet", bytes=91_224_110, rows=1_204_332, streams=streams
    )
    remote = contracts.Remote(kind="meltano run", name=f"{jobs.KEY}-1", uid="0c2f1a5e-7b1d-5c3a-9d52-2f6e5d0c9a11")
    measured = jobs.timings(1.5, 0.4, 6.1, 95.3, 2.0)
    extraction = jobs.step_result("meltano", timings=measured, output=manifest, remote=remote)
    away = errors.Unreachable("The history of the runtimes cannot be read")
    train = jobs.job(108, 109, None if live else 494, train_error(), script_path="f/flexcore/ray/train")
    nodes = [
        jobs.node("validate", jobs.job(0, 0.2, 0.8, {"stage": "extraction"})),
        jobs.node("extract", jobs.job(1, 1.4, 105.4, extraction, script_path="f/flexcore/meltano/extract")),
        jobs.node(
            "select",
            children=[
                monitoring.Node("[0]", jobs.job(105.5, 105.6, 106, away)),
                monitoring.Node("[1]", jobs.job(106.1, 106.2, 107.8, {"runtime": "ray"})),
            ],
            failed_retries=["019375a0-2222-7000-8000-0000000fa11d"],
        ),
        jobs.node("train", train, type="InProgress" if live else "Failure"),
        jobs.node("deploy", type="WaitingForPriorSteps"),
    ]
    summaries = {
        "validate": "Check the request",
        "extract": "tap-postgres",
        "select": "Choose the runtime",
        "train": "XGBoost on Ray",
        "deploy": "Deploy the model",
    }
    return jobs.read_steps(nodes, summaries, live)


def train_error() -> Exception:
    diagnosis = contracts.Diagnosis(
        category="OutOfMemory",
        detail="Worker 3 of 4 used 7.9 GiB of 8 GiB and was killed by the kernel (exit code 137)",
        remedy="Raise workers.memory to 12Gi, or lower train.batch_size below 4096.",
    )
    remote = contracts.Remote(kind="ray_job", name=TRAIN_JOB, uid="5a1d7c1e-98b2-4a0e", url="http://ray:8265/")
    return jobs.ray_error(diagnosis, remote, jobs.timings(109.5, 12.4, 41.0, 322.0, 8.5))


def failed_steps(text: str) -> list[dict[str, Any]]:
    """One step that has failed, all of whose text is `text`."""
    diagnosis = contracts.Diagnosis(category=text, detail=text, remedy=text)
    error = jobs.ray_error(diagnosis, contracts.Remote(kind=text, name=text, uid=text), jobs.timings(1, 1, 1, 1, 1))
    return jobs.read_steps([jobs.node(text, jobs.job(0, 1, 5, error), type="Failure")], {text: text})


def request(**fields: Any) -> dict[str, Any]:
    return {
        "source": {"tap": "tap-postgres", "tables": ["orders", "customers"], "password": "***"},
        "train": {"algorithm": "xgboost", "batch_size": 4096},
        "runtime": "auto",
        "workers": {"count": 4, "memory": "8Gi"},
    } | fields


def problem() -> dict[str, Any]:
    return {
        "name": "RemoteFailure",
        "message": "train failed on ray: worker 3 of 4 was killed\nexit code 137\nlast line: xgboost.core.Booster",
        "step": "train",
        "category": "OutOfMemory",
        "subject": TRAIN_JOB,
        "remedy": "Raise workers.memory to 12Gi, or lower train.batch_size below 4096.",
        "retryable": False,
    }


def restart(of: dict[str, Any]) -> dict[str, Any]:
    """As the bundle offers it: only some workflows go on from what was finished."""
    resumes = bool(resume.PIPELINES.get(execution_models.BUNDLE_FOLDER + of["workflow"]))
    return ALLOWED | {"resumes": resumes, "kept": ["extraction"] if resumes else []}


def detail(of: dict[str, Any], **fields: Any) -> dict[str, Any]:
    failed = of["status"] == "failure"
    return {
        "row": of,
        "url": f"http://localhost:8000/run/{of['id']}?workspace=dev",
        "request": request(train={"algorithm": "xgboost", "batch_size": 8192}, deadline_s=3600),
        "last_good": {"id": GOOD, "request": request()},
        "steps": steps(live=of["ended_at"] is None),
        "error": problem() if failed else None,
        "result": {"success": not failed, "failed_stage": "train" if failed else None},
        "cut": False,
        "version": "0.17.0",
        "can": {
            "cancel": ALLOWED if of["ended_at"] is None else {"allowed": False, "reason": "The execution has ended"},
            "restart": restart(of),
            "debug_bundle": ALLOWED,
        },
    } | fields


def runtimes() -> list[dict[str, Any]]:
    checked = {"checked_at": at(30)}
    return [
        {
            "name": "ray",
            "resource": "u/admin/ray",
            "healthy": True,
            "problem": None,
            "remedy": None,
            "capabilities": {"gpu": False, "autoscaling": True, "ray_version": "2.60.0", "python": ["3.11"]},
            "free": {"cpu": 6.5, "memory_bytes": 27.4 * 2**30, "gpu": None},
            "queue": 2,
            "leases": [{"name": "lease-orders", "owner": RUNNING, "until": at(-600)}],
        }
        | checked,
        {
            "name": "kubernetes",
            "resource": "u/admin/cluster",
            "healthy": False,
            "problem": "https://10.0.0.4:6443 does not answer (connection refused)",
            "remedy": "Check the API server, or the address in the resource u/admin/cluster.",
            "capabilities": {},
            "free": {"cpu": None, "memory_bytes": None},
            "queue": None,
            "leases": None,
        }
        | checked,
        {
            "name": "meltano",
            "resource": "u/admin/project",
            "healthy": True,
            "problem": None,
            "remedy": None,
            "capabilities": {"taps": ["tap-postgres", "tap-csv"], "targets": ["target-parquet"]},
            "free": {"workers": 2},
            "queue": 0,
            "leases": [],
        }
        | checked,
    ]


def comparison() -> list[dict[str, Any]]:
    """As the step makes them of a history: two runtimes that many runs tell apart, one with few, one whose runs failed
    but one, and a workflow of which every run failed."""

    def runs(workflow: str, runtime: str, count: int, seconds: float, failed: int = 0, **fields: Any) -> list[Any]:
        measured = {"rows": 750_000, "cost_usd": 0.031, "success": True, "workflow_type": workflow, "runtime": runtime}
        return [
            workloads.Run(
                started_at=NOW - timedelta(hours=4 * number),
                duration_s=seconds + number % 7,
                **(measured | fields | ({"success": False} if number < failed else {})),
            )
            for number in range(count)
        ]

    known = {
        COPY: [
            *runs(COPY, "ray", 171, 60, failed=3),
            *runs(COPY, "kubernetes", 43, 88, cost_usd=0.044),
            *runs(COPY, "meltano", 2, 240, rows=None, cost_usd=None),
        ],
        HYBRID: runs(HYBRID, "ray", 20, 700, failed=19),
        NIGHTLY: runs(NIGHTLY, "meltano", 7, 30, failed=7),
    }
    return [figures.compare(workflow, found).model_dump(mode="json") for workflow, found in known.items()]


def selections() -> list[dict[str, Any]]:
    def candidate(runtime: str, forecast_s: float | None, **fields: Any) -> dict[str, Any]:
        measured = {"allowed": True, "reason": None, "forecast_cost": 0.03, "score": 0.71}
        return {"runtime": runtime, "forecast_s": forecast_s} | measured | fields

    return [
        {
            "execution": f"019375a0-3333-7000-8000-{index:012d}",
            "at": at(3600 * (index + 1)),
            "workflow": COPY,
            "chosen": "ray",
            "reasons": ["shortest forecast of the runtimes that are allowed", "171 runs are known"],
            "candidates": [
                candidate("ray", 64.0),
                candidate("kubernetes", 91.0, score=0.52),
                candidate(
                    "meltano", None, allowed=False, reason="has no workers for 4 tables", forecast_cost=None, score=None
                ),
            ],
            "forecast_s": 64.0 + index % 5,
            "real_s": 61.0 + (index * 7) % 19,
            "forecast_cost": 0.031,
            "real_cost": 0.029,
            "currency": "EUR",
        }
        for index in range(24)
    ]


def deployments() -> list[dict[str, Any]]:
    def version(name: str, weight: int | None, age_s: float, ready: bool = True) -> deployed_models.DeployedVersion:
        return deployed_models.DeployedVersion(name, weight, ready, at(age_s), GOOD)

    url = "http://churn.models.svc:8080/v2/models/churn"
    versions = [version("v7", 90, 3600), version("v6", 0, 86_400)]
    churn = deployed_models.DeployedModel("churn", "models", versions, url, "v6", revision=12, former_revision=11)
    shared = [version("v3", 75, 3600), version("v2", 25, 7200)]
    price = deployed_models.DeployedModel("price", "", shared, None, "v2", revision=4)
    why = "It has nothing to go back to: its weights were never changed"
    demand = deployed_models.DeployedModel("demand", "", [version("v1", 100, 7200, ready=False)], no_way_back=why)
    found = [(churn, "kubernetes", "u/admin/cluster"), (price, "ray", "u/admin/ray"), (demand, "ray", "u/admin/ray")]
    return [parts.describe_deployment(*one).model_dump(mode="json") for one in found]


def orphans() -> list[dict[str, Any]]:
    common = {"uid": "77b0", "owner": GOOD, "since": at(7200), "overdue_s": 5400.0}
    return [
        {"runtime": "kubernetes", "kind": "Job", "name": "flexcore-extract-1"} | common,
        {"runtime": "ray", "kind": "job", "name": "flexcore-train-2"} | common | {"owner": None, "overdue_s": None},
    ]


def stops() -> list[dict[str, Any]]:
    undone = {"at": at(600), "by": "bob"}
    return [
        {
            "id": "stop-2",
            "workflow": HYBRID,
            "at": at(300),
            "by": "ann",
            "reason": "it fills the lake with copies of 2019",
            "canceled": [FAILED, RUNNING],
            "undone": None,
        },
        {
            "id": "stop-1",
            "workflow": COPY,
            "at": at(7200),
            "by": "ann",
            "reason": "source is down",
            "canceled": [],
            "undone": undone,
        },
    ]


@dataclass
class Workspace:
    """rows: all executions that Windmill has, newest first; index: those that only the run index has. page_size: rows
    of a first page. workflows: those that are deployed. failing: parts
    that cannot be read now."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    index: list[dict[str, Any]] = field(default_factory=list)
    page_size: int = 500
    notices: list[dict[str, Any]] = field(default_factory=list)
    workflows: list[str] = field(default_factory=lambda: [COPY, HYBRID])
    failing: set[str] = field(default_factory=set)
    parts: dict[str, Any] = field(default_factory=dict)
    unread: dict[str, list[str]] = field(default_factory=dict)
    details: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    now: datetime = NOW
    version: str = "0.17.0"
    answers: dict[str, Callable[[dict[str, Any]], Any]] = field(default_factory=dict)

    def refuse(self, script: str, name: str, message: str, remedy: str | None = None) -> None:
        self.refused[script] = {"name": name, "message": message, "extra": {"remedy": remedy, "category": name}}

    def answer(self, script: str, args: dict[str, Any]) -> str:
        """The end of a job of the script, as Windmill keeps it."""
        self.calls.append((script, args))
        if script in self.refused:
            return json.dumps({"error": self.refused[script]})
        answer = self.answers.get(script) or getattr(self, f"_{script}")
        try:
            return json.dumps({"result": answer(args)})
        except errors.FlexcoreError as error:
            extra = {"remedy": error.remedy, "category": error.category}
            return json.dumps({"error": {"name": type(error).__name__, "message": str(error), "extra": extra}})

    def called(self, script: str) -> list[dict[str, Any]]:
        return [args for name, args in self.calls if name == script]

    def _read_dashboard(self, args: dict[str, Any]) -> dict[str, Any]:
        read: dict[str, Any] = {
            "now": self.now.isoformat().replace("+00:00", "Z"),
            "version": self.version,
            "server": {
                "version": "1.743.0",
                "url": "http://localhost:8000",
                "workspace": "dev",
                "user": "ann",
                "engine": "windmill",
            },
            "notices": [*self.notices],
            "unread": {part: self.unread[part] for part in args["want"] if part in self.unread},
            "cursor": f"cursor-{len(self.calls)}",
            "full": "cursor" not in args,
        }
        for part in args["want"]:
            if self._is_failing(part):
                error = errors.Unavailable("Windmill answered with 503", remedy="Try again.")
                title = steps_read.TITLES.get(part, "The list of executions")
                read["notices"].append(notices.unread(title, error).plain())
            elif part == "executions":
                read["executions"] = self._page(args.get("filter") or {}, read["full"])
            elif part == "execution":
                read["execution"] = self.details.get(args["execution"])
                if read["execution"] is None:
                    read["notices"].append(notices.forgotten(args["execution"]).plain())
            else:
                read[part] = self.parts.get(part)
        return read

    def _is_failing(self, part: str) -> bool:
        known = part in ("executions", "execution") or self.parts.get(part) is not None
        return part in self.failing or not known

    def _page(self, filter: dict[str, Any], full: bool) -> dict[str, Any]:
        found = self._filtered(self.rows, filter)
        page = found[: self.page_size]
        older = self._after(found, self.page_size, filter) if full else None
        counts = None if older or not full else dict(Counter(each["status"] for each in page))
        workflows = self.workflows if full else []
        return {"rows": page, "workflows": workflows, "removed": [], "older": older, "counts": counts}

    def _filtered(self, rows: list[dict[str, Any]], filter: dict[str, Any]) -> list[dict[str, Any]]:
        def fits(each: dict[str, Any]) -> bool:
            named = all(each[key] == filter[key] for key in ("workflow", "runtime", "status") if filter.get(key))
            return named and each["created_at"] >= (filter.get("since") or "")

        return [each for each in rows if fits(each)]

    def _after(self, found: list[dict[str, Any]], count: int, filter: dict[str, Any]) -> str | None:
        """The position of what is below the first `count`: in Windmill, or in the run index."""
        below = len(found) > count or self._filtered(self.index, filter)
        return str(min(count, len(found))) if below else None

    def _read_executions(self, args: dict[str, Any]) -> dict[str, Any]:
        filter = args.get("filter") or {}
        found, start = self._filtered([*self.rows, *self.index], filter), int(args["older"])
        end = start + 4 * self.page_size
        return {"rows": found[start:end], "older": str(end) if len(found) > end else None}

    def _read_logs(self, args: dict[str, Any]) -> dict[str, Any]:
        shown = self.details.get(args["execution"]) or {"steps": []}
        if any(each["id"] == args.get("step") and each["job"] is None for each in shown["steps"]):
            raise errors.NotFound(f"The step {args['step']} has no log", remedy="Choose a step that has begun.")
        offset = args.get("offset") or 0
        start = max(0, len(self.log) + offset) if offset < 0 else offset
        lines = self.log[start : start + 2000]
        end = start + len(lines)
        more = end if end < len(self.log) else None
        return {"lines": lines, "offset": start, "next": more, "total": len(self.log), "live": False}

    def _cancel_execution(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"execution": args["execution"]}

    def _restart_execution(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"execution": RUNNING}

    def _stop_workflow(self, args: dict[str, Any]) -> dict[str, Any]:
        stop = {"id": "stop-3", "at": at(0), "by": "ann", "canceled": [RUNNING], "undone": None} | args
        self.parts["stops"] = [stop, *(self.parts.get("stops") or [])]
        return stop

    def _resume_workflow(self, args: dict[str, Any]) -> dict[str, Any]:
        stop: dict[str, Any] = next(each for each in self.parts["stops"] if each["id"] == args["stop"])
        stop["undone"] = {"at": at(0), "by": "ann"}
        return stop

    def _roll_back_model(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"execution": RUNNING}

    def _make_debug_bundle(self, args: dict[str, Any]) -> dict[str, Any]:
        return {"uri": None, "file_name": "debug-bundle.tar.gz", "base64": "aGVsbG8="}


def busy_workspace() -> Workspace:
    """A workspace in which something of everything is there."""
    failed = row(
        FAILED,
        "failure",
        1200,
        workflow=HYBRID,
        duration_s=492.0,
        failed_step="train",
        error="OutOfMemory: worker 3 of 4 was killed",
    )
    running = row(RUNNING, "running", 95, workflow=COPY)
    rows = [
        row("019375a0-0000-7000-8000-000000000001", "queued", 20, runtime=None, started_at=None),
        running,
        row("019375a0-0000-7000-8000-000000000002", "suspended", 600, workflow=HYBRID, runtime="kubernetes"),
        failed,
        row(GOOD, "success", 90_000, workflow=HYBRID),
        row("019375a0-0000-7000-8000-0000000000aa", "success", 40 * 86_400, source="index"),
    ]
    return Workspace(
        rows=[*rows[:4], *many_rows(40), *rows[4:]],
        parts={
            "runtimes": runtimes(),
            "comparison": comparison(),
            "selection": selections(),
            "deployments": deployments(),
            "orphans": orphans(),
            "stops": stops(),
        },
        details={FAILED: detail(failed), RUNNING: detail(running, error=None, result=None)},
        log=[f"2026-11-28T23:{index // 60 % 60:02d}:{index % 60:02d}Z train: epoch {index}" for index in range(300)],
    )
