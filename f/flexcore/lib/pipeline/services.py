# requirements: flexcore_kubernetes
"""Every service of a pipeline, asked before its first stage: a refused token or an absent cluster must not be found
out after an hour of extraction. Changes nothing there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from f.flexcore.lib.core import contracts, errors, resources
from f.flexcore.lib.ray import cluster, dashboard
from f.flexcore.lib.storage import object_store

Question = Callable[[], None]


def questions(
    requests: Mapping[contracts.Stage, Mapping[str, Any]],
    clusters: Mapping[contracts.Stage, Any],
    settings: resources.Settings,
    store: object_store.Store,
) -> dict[str, Question]:
    """What to ask of whom: a prefix for the subject of a refusal → the question. `requests` and `clusters` are by stage
    and hold only the stages that will run."""
    asked: dict[str, Question] = {"settings.": store.check}
    serves = requests.get("deployment", {}).get("target") == "ray"
    if "ml" in requests:
        asked["ml."] = partial(ask_ray, clusters["ml"], requests["ml"], serves)
    elif serves:
        asked["ml."] = partial(ask_ray, clusters["ml"], None, serves)
    if "deployment" in requests and not serves:
        asked["deployment."] = partial(ask_kubernetes, clusters["deployment"], requests["deployment"], settings)
    return asked


def ask_all(asked: Mapping[str, Question]) -> None:
    """Asks side by side. Raises the error of the service that refused; of several, one that a retry does not mend comes
    first, and its message names them all."""
    with ThreadPoolExecutor(max(1, len(asked))) as pool:
        problems = [error for error in pool.map(lambda item: _problem(*item), asked.items()) if error]
    if not problems:
        return
    problems.sort(key=lambda error: error.retryable)
    first, *others = problems
    if others:
        first.args = (" ".join([str(first), *(f"Also: {error}" for error in others)]),)
    raise first


def ask_ray(cluster: Any, training: Mapping[str, Any] | None, serves: bool) -> None:
    """Raises Unreachable, Unavailable, Forbidden or InvalidInput: for a cluster that does not answer, can never give
    what the training asks for, or cannot serve."""
    with dashboard.RayApi(errors.validated(resources.RayCluster, cluster or {}, "cluster")) as api:
        api.version()
        if training:
            check_capacity(api, training)
        if serves and api.serve_details() is None:
            raise errors.InvalidInput(
                f"Ray Serve is not installed on the cluster at {api.address}",
                subject="cluster",
                remedy="Install ray[serve] on it, or choose the target kubernetes.",
            )


def check_capacity(api: dashboard.RayApi, training: Mapping[str, Any]) -> None:
    """Raises InvalidInput when no node can ever run a worker of the training."""
    workers, gpus = training["num_workers"], float(training["use_gpu"])
    field = "use_gpu" if gpus else "cpus_per_worker" if workers == 1 else "num_workers"
    if problem := cluster.find_shortage(
        api.cluster_status(), cluster.Needs(workers, training["cpus_per_worker"], gpus, field)
    ):
        raise errors.InvalidInput(problem, subject=field, remedy="Ask for less, or add nodes to the cluster.")


def ask_kubernetes(cluster: Any, deployment: Mapping[str, Any], settings: resources.Settings) -> None:
    """Raises Unreachable, Forbidden (naming the missing rights), NotFound (namespace) or InvalidInput."""
    # Imported only where a pipeline deploys there: its transport takes half a second of CPU.
    from f.flexcore.lib.kubernetes import client, connection, health

    session = connection.connect(cluster, deployment["namespace"], settings)
    client.read_version(session.kubernetes)
    health.check_namespace(session.kubernetes, session.namespace)
    health.find_missing_rights(session.kubernetes, session.namespace, "deploy")


def _problem(prefix: str, question: Question) -> errors.FlexcoreError | None:
    try:
        question()
    except errors.FlexcoreError as error:
        error.subject = f"{prefix}{error.subject}"
        return error
    return None
