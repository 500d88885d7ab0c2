"""The kinds of executions of a soak: what is run, and how each must end.

Every kind runs steps of the bundle: alone, as modules of a flow that is in the request only, or as the bundle's own
flow. What a fault can hit is tried again as the bundle's flows do it; what must fail is not.
"""

from __future__ import annotations

import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from bench.soak.places import Places
from bench.soak.services import NAMESPACE
from tests.hybrid_cases import small_request
from tests.live.works import PROGRAM
from tests.meltano import conftest as toys

Json = dict[str, Any]
# Above the longest outage. A step that was killed has no word on whether another try helps: it is tried again.
RETRY: Json = {
    "constant": {"attempts": 4, "seconds": 4},
    "retry_if": {"expr": "result?.error?.extra?.retryable !== false"},
}
CANCEL_AFTER_S = (2.0, 8.0)
LONG_S = 60
TAPS = tuple(f"tap-soak-{number}" for number in range(16))
TOY_FILES = ("toy_tap.py", "toy_mapper.py", "toy_target.py")


@dataclass(slots=True)
class Execution:
    """ends: success, failure or canceled. answer: what a success says, of its result; uses: services it depends on.
    marker: a file to which each start of the work adds a line."""

    kind: str
    ends: str
    start: Json
    uses: frozenset[str] = frozenset()
    check: Callable[[Json], bool] = lambda result: True
    flow: str = ""
    cancel_after_s: float | None = None
    marker: Path | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_at: float = 0.0
    ended_at: float | None = None
    touched: set[str] = field(default_factory=set)
    success: bool | None = None
    result: Any = None
    canceled: bool = False
    # The server has dropped it before its end was read.
    forgotten: bool = False
    # The execution whose partial results this one goes on from.
    resumes: str = ""

    def starts(self) -> int | None:
        """How often its work was begun; None where nothing counts that."""
        if self.marker is None:
            return None
        return len(self.marker.read_text().split()) if self.marker.exists() else 0


@dataclass(slots=True)
class Flows:
    """Makes executions of all kinds on the places, in a mixture that `chance` draws."""

    places: Places
    chance: random.Random
    folder: Path = field(init=False)
    project: Path = field(init=False)
    taps: Iterator[str] = field(default_factory=lambda: cycle(TAPS))

    def __post_init__(self) -> None:
        self.folder = self.places.folder / "work"
        self.project = self.folder / "project"
        self.project.mkdir(parents=True)
        # One pipeline runs once at a time: each execution has a tap of its own, out of more than are under way.
        taps = "".join(f"  - name: {tap}\n    inherit_from: tap-toy\n" for tap in TAPS)
        text = toys.PROJECT.replace("  loaders:\n", f"{taps}  loaders:\n")
        (self.project / "meltano.yml").write_text(text)
        for name in TOY_FILES:
            shutil.copy(toys.HERE / name, self.project)

    def draw(self) -> Execution:
        make, _ = self.chance.choices(MIXTURE, [weight for _, weight in MIXTURE])[0]
        return make(self)

    def first_of_each(self) -> list[Execution]:
        """One of each kind: what only the first costs is then behind."""
        return [make(self) for make, _ in MIXTURE]

    # --- kinds

    def pure(self) -> Execution:
        modules = [
            step("compare", "f/flexcore/operations/compare_runtimes", {"most": 20}),
            step("find", "f/flexcore/storage/find_data", {"data": "nothing", "settings": self.places.settings}),
        ]
        return Execution(
            "pure", "failure", {"modules": modules}, check=lambda result: "nothing" in str(result["error"])
        )

    def pipeline(self, partial_results: list[Json] | None = None, resumes: str = "") -> Execution:
        """The hybrid pipeline, whose second stage fails for its column; what the first made is then used again."""
        form = small_request(self.folder / "flights", {})
        ml = {**form["ml"], "cluster": self._name("ray"), "target_column": "arrival"}
        form = {**form, "settings": self.places.settings, "ml": ml}
        if partial_results:
            form = {**form, "partial_results": partial_results}
        return Execution(
            "resumed pipeline" if resumes else "pipeline",
            "failure",
            form,
            frozenset({"ray"}),
            lambda result: [stage["reused"] for stage in result["partial_results"]] == [bool(resumes)],
            flow="f/flexcore/hybrid_pipeline",
            resumes=resumes,
        )

    def follow_up(self, ended: Execution) -> Execution | None:
        """The execution that goes on from the partial results of this one, if it has any."""
        if ended.kind != "pipeline" or not isinstance(ended.result, dict) or not ended.result.get("partial_results"):
            return None
        return self.pipeline(ended.result["partial_results"], ended.id)

    def extraction(self, mode: str = "ok") -> Execution:
        rows, tap = self.chance.randint(10, 2000), next(self.taps)
        form = {
            "project": {"path": str(self.project)},
            "taps": [tap],
            "config": [f"{tap}.rows={rows}", f"{tap}.mode={mode}"],
            "full_refresh": True,
            "settings": self.places.bucket.settings,
        }
        return Execution(
            "extraction" if mode == "ok" else "failing extraction",
            "success" if mode == "ok" else "failure",
            {"modules": [step("work", "f/flexcore/meltano/run", form)]},
            frozenset({"store"}),
            lambda result: mode != "ok" or bool(result["output"]["streams"][0]["rows"] == rows),
        )

    def failing_extraction(self) -> Execution:
        return self.extraction("crash")

    def ray_job(self) -> Execution:
        marker, form = self._ray_form(self.chance.uniform(0, 3))
        return Execution(
            "ray job",
            "success",
            {"modules": [step("work", "f/flexcore/ray/run_job", form)]},
            frozenset({"ray"}),
            lambda result: result["data"]["result"] == marker.read_text().split()[-1],
            marker=marker,
        )

    def failing_ray_job(self) -> Execution:
        _, form = self._ray_form(0)
        form["program"] = "raise ValueError('as it should')"
        modules = [step("work", "f/flexcore/ray/run_job", form)]
        return Execution("failing ray job", "failure", {"modules": modules}, frozenset({"ray"}))

    def canceled_ray_job(self) -> Execution:
        _, form = self._ray_form(LONG_S)
        modules = [step("work", "f/flexcore/ray/run_job", form)]
        return self._canceled("canceled ray job", {"modules": modules}, "ray")

    def deferred_ray_job(self) -> Execution:
        marker, form = self._ray_form(self.chance.uniform(0, 3))
        form = {**form, "operation": "program", "wait": "defer", "expected_s": 0}
        return Execution(
            "deferred ray job",
            "success",
            form,
            frozenset({"ray"}),
            lambda result: _holds(result, marker.read_text().split()[-1]),
            flow="f/flexcore/ray/execute",
            marker=marker,
        )

    def leased_ray_job(self) -> Execution:
        """A lease of the head, a job on it, and the lease's end."""
        marker, form = self._ray_form(0)
        del form["cluster"]
        lease = {"cluster": {"expr": "results.lease.data.cluster"}}
        settings = {"settings": self.places.settings}
        cluster = {"resource": self.places.resources["ray"]}
        modules = [
            step("lease", "f/flexcore/ray/ensure_cluster", {"cluster": cluster, "lease_s": 600, **settings}),
            step("work", "f/flexcore/ray/run_job", form, lease),
            step("release", "f/flexcore/ray/release_cluster", settings, lease),
        ]
        return Execution("leased ray job", "success", {"modules": modules}, frozenset({"ray"}), marker=marker)

    def container(self, code: int = 0) -> Execution:
        form = self._container_form(self.chance.uniform(0, 4), code)
        return Execution(
            "failing container" if code else "container",
            "failure" if code else "success",
            {"modules": [step("work", "f/flexcore/kubernetes/run_job", form)]},
            frozenset({"kubernetes"}),
            lambda result: code != 0 or len(result["data"]["message"]) == 36,
        )

    def failing_container(self) -> Execution:
        return self.container(3)

    def canceled_container(self) -> Execution:
        form = self._container_form(LONG_S, 0)
        modules = [step("work", "f/flexcore/kubernetes/run_job", form)]
        return self._canceled("canceled container", {"modules": modules}, "kubernetes")

    def deferred_container(self) -> Execution:
        form = self._container_form(self.chance.uniform(0, 4), 0)
        form = {**form, "operation": "job", "wait": "defer", "expected_s": 0}
        return Execution(
            "deferred container", "success", form, frozenset({"kubernetes"}), flow="f/flexcore/kubernetes/execute"
        )

    def _name(self, resource: str) -> str:
        """As people hand it on. An engine keeps no secret: a run with a token in its arguments ends with the engine."""
        return f"$res:{self.places.resources[resource]}"

    def _canceled(self, kind: str, start: Json, service: str) -> Execution:
        after = self.chance.uniform(*CANCEL_AFTER_S)
        return Execution(kind, "canceled", start, frozenset({service}), cancel_after_s=after)

    def _ray_form(self, seconds: float) -> tuple[Path, Json]:
        marker = self.folder / f"ray-{uuid.uuid4().hex}"
        form = {
            "cluster": self._name("ray"),
            "program": PROGRAM,
            "parameters": {"marker": str(marker), "seconds": seconds},
            "settings": self.places.settings,
        }
        return marker, form

    def _container_form(self, seconds: float, code: int) -> Json:
        return {
            "cluster": self._name("kubernetes"),
            "namespace": NAMESPACE,
            "image": "any:1",
            "args": [f"{seconds:.1f}", str(code)],
            "ttl_s": 60,
            "settings": self.places.settings,
        }


MIXTURE: tuple[tuple[Callable[[Flows], Execution], float], ...] = (
    (Flows.pure, 5),
    (Flows.pipeline, 0.7),
    (Flows.extraction, 4),
    (Flows.failing_extraction, 1),
    (Flows.ray_job, 4),
    (Flows.failing_ray_job, 1),
    (Flows.canceled_ray_job, 1),
    (Flows.deferred_ray_job, 2),
    (Flows.leased_ray_job, 1),
    (Flows.container, 5),
    (Flows.failing_container, 1),
    (Flows.canceled_container, 1),
    (Flows.deferred_container, 2),
)


def step(id: str, path: str, form: Json, expressions: dict[str, Json] | None = None) -> Json:
    """A module that runs a step of the bundle. expressions: inputs that come from other steps."""
    inputs: Json = {name: {"type": "static", "value": value} for name, value in form.items()}
    inputs |= {name: {"type": "javascript", **item} for name, item in (expressions or {}).items()}
    return {"id": id, "value": {"type": "script", "path": path, "input_transforms": inputs}, "retry": RETRY}


def _holds(result: Any, text: str) -> bool:
    """Whether a text stands anywhere in a result: a flow with branches ends with that of the branch."""
    if isinstance(result, dict):
        return any(_holds(item, text) for item in result.values())
    if isinstance(result, list):
        return any(_holds(item, text) for item in result)
    return bool(result == text)
