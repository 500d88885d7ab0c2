# requirements: flexcore_base
"""A model on a RayService of KubeRay: the objects that make it, and what its status says. Pure.

State   which versions there are, and who gets how many of the requests; stands in an annotation of the RayService, so
        that Kubernetes' resourceVersion fences every change of it
    ├─ serve_config     its serveConfigV2: one application for each version, one for the ingress (remote/serve_config)
    ├─ service_body     the RayService        code_map, store_secret   what its pods mount and read; it owns them
    └─ find_problem     what the status says of an application

A change of the state alone is one in place; another spec, or other code of ours, is a new cluster that takes over.
Source: KubeRay's ray-operator/apis/ray/v1/rayservice_types.go of 1.5; what is said of statuses was seen with 1.5.0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors, identity
from f.flexcore.lib.ray import cluster_spec, job
from f.flexcore.lib.ray.remote import serve_apps, serve_config, shared_storage

Object = dict[str, Any]
STATE, SPEC_HASH = "flexcore/traffic", "flexcore/spec-hash"
# A label of its pods: the names of its clusters change.
SERVICE_LABEL = "flexcore/ray-service"
# Its upgrade strategies.
AT_ONCE, STEPWISE = "NewCluster", "NewClusterWithIncrementalUpgrade"
MODULES = (
    *job.SHARED,
    "shared_storage",
    "inference_app",
    "serve_apps",
    "serve_lease",
    "traffic",
    "serve_changes",
    "serve_config",
)
IMPORT_PATH = "f.flexcore.lib.ray.remote.serve_config"
CODE_FOLDER = "/flexcore-code"
SERVE_PORT = cluster_spec.SERVE_PORT
# Of traffic moved to a new cluster: a tenth every 10 s.
STEP_PERCENT, STEP_INTERVAL_S = 10, 10
# Replicas of the ingress: the sum of what the versions may have is not known before them.
INGRESS_REPLICAS = 4


def serve_service_name(name: str) -> str:
    return f"{name}-serve-svc"


def read_state(service: Object | None) -> Object:
    text = ((service or {}).get("metadata", {}).get("annotations") or {}).get(STATE)
    return dict(json.loads(text)) if text else {}


def is_on_trial(service: Object) -> bool:
    """Whether it has never answered yet."""
    return identity.ON_TRIAL in (service["metadata"].get("annotations") or {})


def is_ours(service: Object) -> bool:
    labels = service["metadata"].get("labels") or {}
    return labels.get(identity.MANAGED_BY) == "flexcore" and bool(read_state(service))


def check_ours(service: Object) -> None:
    metadata = service["metadata"]
    if not is_ours(service):
        raise errors.InvalidInput(
            f"name: the RayService {metadata['name']} exists in namespace {metadata['namespace']}, and flexcore did "
            "not make it",
            subject="name",
            remedy="Choose another name or namespace.",
        )
    if metadata.get("deletionTimestamp"):
        raise errors.Unavailable(
            f"The RayService {metadata['name']} is being deleted", subject="name", remedy="Run again when it is gone."
        )


def add_version(state: Object, version: str, entry: Object, weight: float) -> Object:
    """The state with a version that gets `weight` percent of the requests."""
    merged = serve_apps.merge_version(state, version, serve_apps.name_version_app(state["app"], version), weight)
    return {**merged, "versions": {**state.get("versions", {}), version: entry}}


def add_quietly(state: Object, version: str, entry: Object) -> Object:
    """The state with a version that gets no requests yet; those that there are keep theirs."""
    weights = dict(state.get("weights") or {})
    added = add_version(state, version, entry, 0)
    return {
        **added,
        "weights": {**weights, version: weights.get(version, 0.0)} if weights else {version: 100.0},
        "before": dict(state.get("before") or {}),
    }


def keep_versions(state: Object, kept: list[str]) -> Object:
    """The state without the other versions."""
    fields = {name: {key: state[name][key] for key in kept} for name in ("weights", "applications", "versions")}
    return {**state, **fields}


def serve_config_text(state: Object, owner: Mapping[str, str]) -> str:
    applications = [
        {
            "name": state["applications"][version],
            "route_prefix": None,
            "import_path": f"{IMPORT_PATH}:build_version",
            "args": entry,
        }
        for version, entry in sorted(state["versions"].items())
    ]
    shown = {name: value for name, value in state.items() if name not in ("versions", "app")}
    ingress = {
        "name": state["app"],
        "route_prefix": f"/{state['app']}",
        "import_path": f"{IMPORT_PATH}:build_ingress",
        "args": {"replicas": INGRESS_REPLICAS},
        "deployments": [{"name": serve_apps.INGRESS_DEPLOYMENT, "user_config": {**owner, serve_apps.TRAFFIC: shown}}],
    }
    http = {"host": "0.0.0.0", "port": SERVE_PORT}
    return json.dumps({"http_options": http, "applications": [*applications, ingress]}, sort_keys=True)


def code_files() -> dict[str, str]:
    """Module's path → its source."""
    files = job.program_files(MODULES, "")
    return {path: text for path, text in files.items() if path.endswith(".py") and "/" in path}


def code_key(path: str) -> str:
    """Its key in the ConfigMap, which has no folders."""
    return path.rsplit("/", 1)[1]


def code_map_name(name: str) -> str:
    digest = hashlib.sha256(json.dumps(code_files(), sort_keys=True).encode()).hexdigest()[:10]
    return f"{name}-code-{digest}"


def store_secret_name(name: str) -> str:
    return f"{name}-store"


def service_body(
    name: str,
    namespace: str,
    spec: cluster_spec.ClusterSpec,
    state: Object,
    labels: Mapping[str, str],
    gateway_class: str,
    *,
    has_auth_options: bool,
) -> Object:
    """The RayService. gateway_class: of upgrades in steps; "" for a new cluster that takes over at once."""
    upgrade: Object = {"type": AT_ONCE}
    if gateway_class:
        options = {
            "gatewayClassName": gateway_class,
            "stepSizePercent": STEP_PERCENT,
            "intervalSeconds": STEP_INTERVAL_S,
        }
        upgrade = {"type": STEPWISE, "clusterUpgradeOptions": options}
    return {
        "apiVersion": cluster_spec.API_VERSION,
        "kind": "RayService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**labels, identity.OUTLIVES_RUN: "true"},
            "annotations": {
                STATE: json.dumps(state),
                SPEC_HASH: hash_spec(name, spec),
                # Until it has answered, it goes when the run that made it ends.
                identity.ON_TRIAL: "true",
            },
        },
        "spec": {
            "upgradeStrategy": upgrade,
            "serveConfigV2": serve_config_text(state, labels),
            "rayClusterConfig": cluster_config(name, spec, labels, has_auth_options=has_auth_options),
        },
    }


def cluster_config(
    name: str, spec: cluster_spec.ClusterSpec, labels: Mapping[str, str], *, has_auth_options: bool
) -> Object:
    # Labels of the run that made it would make a new cluster of every deployment.
    ours = {**{key: value for key, value in labels.items() if key == identity.MANAGED_BY}, SERVICE_LABEL: name}
    without_token = spec if has_auth_options else spec.model_copy(update={"token_auth": False})
    body = cluster_spec.cluster_body(without_token, name, ours, has_auth_options=has_auth_options)
    for group in (body["headGroupSpec"], *body["workerGroupSpecs"]):
        _mount_code(group["template"]["spec"], name)
    return body


def _mount_code(pod: Object, name: str) -> None:
    items = [{"key": code_key(path), "path": path} for path in sorted(code_files())]
    pod["volumes"] = [
        *pod.get("volumes", []),
        {"name": "flexcore-code", "configMap": {"name": code_map_name(name), "items": items}},
    ]
    container = pod["containers"][0]
    mount = {"name": "flexcore-code", "mountPath": CODE_FOLDER, "readOnly": True}
    container["volumeMounts"] = [*container.get("volumeMounts", []), mount]
    secret = store_secret_name(name)
    keys = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, "optional": True}}}
        for variable, key in serve_config.KEYS.items()
    ]
    container["env"] = [*container.get("env", []), {"name": "PYTHONPATH", "value": CODE_FOLDER}, *keys]


def hash_spec(name: str, spec: cluster_spec.ClusterSpec) -> str:
    """Of all that makes the cluster of a RayService: when it differs, a new one takes over."""
    return hashlib.sha256(f"{spec.model_dump_json()}\n{code_map_name(name)}".encode()).hexdigest()[:20]


def code_map(name: str, namespace: str, labels: Mapping[str, str]) -> Object:
    metadata = {"name": code_map_name(name), "namespace": namespace, "labels": dict(labels)}
    data = {code_key(path): text for path, text in code_files().items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data, "immutable": True}


def store_secret(name: str, namespace: str, labels: Mapping[str, str], storage: Object) -> Object:
    metadata = {"name": store_secret_name(name), "namespace": namespace, "labels": dict(labels)}
    data = {key: str(storage.get(key) or "") for key in serve_config.KEYS.values()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": data}


def network_policy(spec: cluster_spec.ClusterSpec, name: str, namespace: str, labels: Mapping[str, str]) -> Object:
    """Who reaches the pods of its clusters, and whom they reach; as for a RayCluster."""
    return cluster_spec.network_policy(spec, name, namespace, labels, {SERVICE_LABEL: name})


def is_stepwise(service: Object) -> bool:
    return (service["spec"].get("upgradeStrategy") or {}).get("type") == STEPWISE


def serving_service(service: Object) -> str:
    """The Service of the cluster that answers: one that moves with it, or with upgrades in steps the cluster's own."""
    name = service["metadata"]["name"]
    if is_stepwise(service):
        name = _cluster_name(service, "activeServiceStatus") or _cluster_name(service, "pendingServiceStatus") or name
    return serve_service_name(name)


def find_moved_percent(service: Object) -> int | None:
    """Percent of the requests that go to a cluster which is to take over; None when there is none."""
    if not _cluster_name(service, "pendingServiceStatus"):
        return None
    return int(service["status"]["pendingServiceStatus"].get("trafficRoutedPercent") or 0)


def _cluster_name(service: Object, part: str) -> str:
    return str(((service.get("status") or {}).get(part) or {}).get("rayClusterName") or "")


def find_status(service: Object, app: str) -> tuple[str, str]:
    """(status, message) of an application on the cluster that answers, or on the one that is to take over; ("", "")
    when the operator has not said anything yet. RayService's own conditions do not tell: Ready stays True when a new
    application cannot be deployed."""
    status = service.get("status") or {}
    for part in ("pendingServiceStatus", "activeServiceStatus"):
        found = ((status.get(part) or {}).get("applicationStatuses") or {}).get(app)
        if found:
            texts = [*_deployment_messages(found), found.get("message")]
            return str(found.get("status") or ""), next((text for text in texts if text), "")
    return "", ""


def _deployment_messages(application: Object) -> list[str]:
    return [str(item.get("message") or "") for item in (application.get("serveDeploymentStatuses") or {}).values()]


def choose_weights(
    name: str, state: Object, weights: Mapping[str, float], rollback: bool, from_revision: int
) -> dict[str, float]:
    """Percent by version. Raises InvalidInput, and Conflict when the shares are not of `from_revision` any more."""
    from f.flexcore.lib.ray.remote import serve_traffic

    parameters = {"app": name, "weights": dict(weights), "rollback": rollback, "from_revision": from_revision}
    try:
        return serve_traffic.choose_weights(parameters, state)
    except shared_storage.Problem as problem:
        told = problem.flexcore
        kind = errors.Conflict if told["type"] == "Conflict" else errors.InvalidInput
        raise kind(told["message"], subject=told["subject"], remedy=told["remedy"]) from None
