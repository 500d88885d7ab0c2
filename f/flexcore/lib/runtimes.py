# requirements: flexcore_kubernetes
"""The runtimes: the one place, besides the flows' branches, that names them.

A new one is a folder below lib/ with its operations, its steps, one entry here, and a branch in the flow. Addresses are
imported only when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from f.flexcore.lib.core import errors, operation, resources

if TYPE_CHECKING:
    from f.flexcore.lib.core import contracts, remote_objects

Result = TypeVar("Result")
RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        operation.Runtime(
            name="meltano",
            summary="taps and targets, dbt and other Meltano utilities, on the worker itself",
            worker_tag="data-processing",
            service=resources.MeltanoProject,
            service_field="project",
            resource_type="c_meltano_project",
            operations={
                "run": "f.flexcore.lib.meltano.extraction:RUN",
                "run_dbt": "f.flexcore.lib.meltano.dbt:RUN_DBT",
            },
            pipeline_operations=("run",),
            health="f.flexcore.lib.meltano.installation:health",
            hints="f.flexcore.lib.meltano.request_models:derive_work_hints",
        ),
        operation.Runtime(
            name="ray",
            summary="training, batch inference, serving and programs, on a Ray cluster",
            worker_tag="ml",
            service=resources.RayCluster,
            resource_type="c_ray_cluster",
            operations={
                "program": "f.flexcore.lib.ray.program_job:RUN_PROGRAM",
                "train": "f.flexcore.lib.ray.train_job:TRAIN",
                "search": "f.flexcore.lib.ray.search_job:SEARCH",
                "training_loop": "f.flexcore.lib.ray.loop_job:TRAINING_LOOP",
                "predict": "f.flexcore.lib.ray.predict_job:PREDICT",
                "deploy_model": "f.flexcore.lib.ray.serve_job:DEPLOY_MODEL",
                "deploy_service": "f.flexcore.lib.ray.service_deployment:DEPLOY_SERVICE",
                "copy_table": "f.flexcore.lib.ray.copy_job:COPY_TABLE",
                "ensure_cluster": "f.flexcore.lib.ray.cluster_lifecycle:ENSURE_CLUSTER",
                "scale_cluster": "f.flexcore.lib.ray.cluster_lifecycle:SCALE_CLUSTER",
                "release_cluster": "f.flexcore.lib.ray.cluster_lifecycle:RELEASE_CLUSTER",
                "describe_cluster": "f.flexcore.lib.ray.cluster_lifecycle:DESCRIBE_CLUSTER",
            },
            pipeline_operations=("program", "train"),
            health="f.flexcore.lib.ray.cluster:health",
            hints="f.flexcore.lib.ray.job:derive_work_hints",
            clusters_field="ray_clusters",
            objects="f.flexcore.lib.ray.remote_objects:RayObjects",
            queue="f.flexcore.lib.ray.queue_objects:QueueObjects",
            objects_in={
                "kubernetes_clusters": "f.flexcore.lib.ray.leased_clusters:KubeRayObjects",
                "": "f.flexcore.lib.ray.leased_clusters:StoredLeaseObjects",
            },
        ),
        operation.Runtime(
            name="kubernetes",
            summary="container jobs and model servers, on a Kubernetes cluster",
            worker_tag="flext",
            service=resources.KubernetesCluster,
            resource_type="c_kubernetes_cluster",
            operations={
                "job": "f.flexcore.lib.kubernetes.job_operation:RUN_JOB",
                "deploy_model": "f.flexcore.lib.kubernetes.model_deployment:DEPLOY_MODEL",
                "shift_traffic": "f.flexcore.lib.kubernetes.traffic_operation:SHIFT_TRAFFIC",
                "suggest_resources": "f.flexcore.lib.kubernetes.right_sizing_operations:SUGGEST_RESOURCES",
                "resize_model": "f.flexcore.lib.kubernetes.right_sizing_operations:RESIZE_MODEL",
            },
            pipeline_operations=("job",),
            health="f.flexcore.lib.kubernetes.health:health",
            hints="f.flexcore.lib.kubernetes.job_manifest:derive_work_hints",
            clusters_field="kubernetes_clusters",
            objects="f.flexcore.lib.kubernetes.remote_objects:KubernetesObjects",
            objects_in={
                "": "f.flexcore.lib.kubernetes.placed_objects:PlacedObjects",
                "kubernetes_clusters": "f.flexcore.lib.kubernetes.traffic_objects:ShiftObjects",
            },
            needs_service=False,
            has_namespaces=True,
            namespace="f.flexcore.lib.kubernetes.connection:choose_request_namespace",
        ),
    )
}


# Of hybrid_pipeline: each stage's runtime and operation; a deployment's form names the runtime by its target.
STAGES: dict[contracts.Stage, tuple[str, str]] = {
    "extraction": ("meltano", "run"),
    "ml": ("ray", "train"),
    "deployment": ("", "deploy_model"),
}


class RemoteObjects(Protocol):
    """Our objects in one cluster, named by its resource's path. Each verb raises FlexcoreError, and returns what became
    of the object."""

    def find(self) -> list[remote_objects.RemoteObject]: ...
    def stop(self, item: remote_objects.RemoteObject) -> str: ...
    def delete(self, item: remote_objects.RemoteObject) -> str: ...


class WaitingWork(RemoteObjects, Protocol):
    """Our work that waits for room in one cluster."""

    def submit(self, item: remote_objects.RemoteObject, arguments: dict[str, Any]) -> str:
        """arguments: of the step that has left it there, their references resolved. Raises UserError or DataError for
        what can never be submitted."""


def get_runtime(name: str) -> operation.Runtime:
    """Raises InvalidInput that lists the runtimes there are."""
    if name not in RUNTIMES:
        raise errors.InvalidInput(
            f"runtime: {name!r} does not exist", subject="runtime", remedy=f"Use one of {', '.join(RUNTIMES)}."
        )
    return RUNTIMES[name]


def open_objects(
    runtime: operation.Runtime, place: str, resource: Any, namespace: str, objects: str = ""
) -> RemoteObjects:
    """objects: one of `objects_in`, where it is not the runtime's own. Raises InvalidInput when the resource is none of
    that runtime."""
    opened: RemoteObjects = operation.resolve(objects or runtime.objects)(place, resource, namespace)
    return opened


def open_queue(runtime: operation.Runtime, place: str, resource: Any, settings: resources.Settings) -> WaitingWork:
    """Of a runtime that has one. Raises InvalidInput when the resource is none of that runtime."""
    queue: WaitingWork = operation.resolve(runtime.queue)(place, resource, settings)
    return queue


def check_health(runtime: operation.Runtime, place: str, resource: Any = None, namespace: str = "") -> operation.Health:
    """place: the worker's name for a runtime of the worker itself, else the path of `resource`.

    Raises FlexcoreError when it is down."""
    check = operation.resolve(runtime.health)
    health: operation.Health = check(place) if runtime.clusters_field is None else check(place, resource, namespace)
    return health


def list_clusters(runtime: operation.Runtime, settings: resources.Settings) -> list[str]:
    """The paths of its resources that the settings name."""
    return list(settings.clusters(runtime.clusters_field)) if runtime.clusters_field else []


def run_side_by_side(parts: Mapping[str, Callable[[], Result]]) -> dict[str, Result | errors.FlexcoreError]:
    """What each part returns, or the error that it raises, by name."""

    def run(part: Callable[[], Result]) -> Result | errors.FlexcoreError:
        try:
            return part()
        except errors.FlexcoreError as error:
            return error

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max(1, len(parts))) as pool:
        return dict(zip(parts, pool.map(run, parts.values()), strict=True))
