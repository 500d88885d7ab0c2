# requirements: flexcore_base
"""The models that flexcore serves with Ray: applications of a cluster's Serve, and RayServices of a namespace.

Each with its versions and their shares of the requests. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from f.flexcore.lib.core import deployed_models, errors, resources
from f.flexcore.lib.ray import cluster_spec, connection, dashboard, serve_job
from f.flexcore.lib.ray.remote import serve_apps

Object = Mapping[str, Any]
RUNNING = "RUNNING"
ROOT_JOB = "flexcore/root-job"


def list_deployed(resource: Any) -> list[deployed_models.DeployedModel]:
    """Raises as Ray and Kubernetes answer, and InvalidInput for what is no resource of a Ray cluster."""
    cluster = connection.follow(errors.validate(resources.RayCluster, resource, "cluster"))
    found = list_services(cluster) if cluster.is_on_kubernetes else []
    if cluster.is_on_kubernetes and not cluster.name:
        return found
    with dashboard.RayApi(cluster) as ray:
        return [*found, *describe_applications(ray.serve_details() or {}, ray.place)]


def describe_applications(details: Object, place: resources.RayCluster) -> list[deployed_models.DeployedModel]:
    """The models among the applications that Serve tells of. Pure."""
    applications = details.get("applications") or {}
    port = int((details.get("http_options") or {}).get("port") or cluster_spec.SERVE_PORT)
    found = []
    for name, application in applications.items():
        if traffic := serve_apps.read_traffic(application):
            parts = {version: applications.get(app) or {} for version, app in traffic["applications"].items()}
            versions = [_describe_version(version, part, traffic["weights"]) for version, part in parts.items()]
            found.append(describe(name, "", versions, traffic, serve_job.endpoint_url(place, port, name)))
    return found


def describe(
    name: str,
    namespace: str,
    versions: list[deployed_models.DeployedVersion],
    traffic: Object,
    url: str | None,
) -> deployed_models.DeployedModel:
    """traffic: {weights, before, applications, token}."""
    problem = serve_apps.find_no_way_back(dict(traffic))
    before = traffic.get("before") or {}
    return deployed_models.DeployedModel(
        name,
        namespace,
        sorted(versions, key=lambda item: -(item.weight or 0)),
        url,
        None if problem else max(before, key=before.__getitem__),
        problem and f"It has nothing to go back to: {problem}",
        revision=serve_apps.read_revision(dict(traffic)),
    )


def _describe_version(version: str, application: Object, weights: Object) -> deployed_models.DeployedVersion:
    deployed_at = application.get("last_deployed_time_s")
    return deployed_models.DeployedVersion(
        version=version,
        weight=round(weights.get(version, 0)),
        ready=application.get("status") == RUNNING,
        created_at=datetime.fromtimestamp(deployed_at, UTC).isoformat() if deployed_at else None,
        run=serve_apps.read_config(dict(application)).get(ROOT_JOB) or None,
    )


def list_services(cluster: resources.RayCluster) -> list[deployed_models.DeployedModel]:
    """The RayServices of the cluster's namespace."""
    from f.flexcore.lib.kubernetes_api import api_errors
    from f.flexcore.lib.ray import kubernetes_session, ray_service, service_spec

    with kubernetes_session.open_session(cluster) as session:
        path = f"/apis/ray.io/v1/namespaces/{session.namespace}/rayservices"
        call = api_errors.Call("list", ray_service.RESOURCE, session.namespace)
        items = session.kubernetes.list(path, {}, call).get("items") or []
    return [describe_service(item, cluster) for item in items if service_spec.is_ours(item)]


def describe_service(service: Object, cluster: resources.RayCluster) -> deployed_models.DeployedModel:
    """A RayService of ours, by the state that it carries and the status that it has. Pure."""
    from f.flexcore.lib.ray import service_rollout, service_spec

    item, metadata = dict(service), service["metadata"]
    state = service_spec.read_state(item)
    weights = state.get("weights") or {}
    versions = []
    for version, app in (state.get("applications") or {}).items():
        status = service_spec.find_status(item, app)[0]
        # When a version came to it, and by whom, a RayService does not keep.
        ready = status == RUNNING if status else None
        versions.append(deployed_models.DeployedVersion(version, round(weights.get(version, 0)), ready))
    url = service_rollout.endpoint_url(cluster, metadata["namespace"], metadata["name"])
    return describe(metadata["name"], metadata["namespace"], versions, {"applications": {}, **state}, url)
