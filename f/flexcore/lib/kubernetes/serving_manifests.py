# requirements: flexcore_kubernetes
"""The objects of a served model: Deployment and Service, and what its first container needs. Pure.

All but the Deployment belong to it (owner references), so that they go when it goes. The ConfigMap carries its
content's digest in its name: while an update rolls out, pods of the generation before still find theirs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import contracts, dimensions, identity
from f.flexcore.lib.kubernetes import autoscaler, model_delivery, pod_spec

Object = dict[str, Any]

# The last release, whose runtimes read the models that ray/train writes.
# Source: the Dockerfile and documentation of SeldonIO/MLServer
DEFAULT_MLSERVER_IMAGE = "docker.io/seldonio/mlserver:1.7.1"
PORT = model_delivery.PORT
# Of MLServer, which has its metrics on a port of their own.
MLSERVER_METRICS_PORT = 8082
# Unlike other names, a Service's begins with a letter. Source: RFC 1035 labels, as Kubernetes asks for.
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SERVER = "model-server"
SECRET_SUFFIX = "-model-access"
# Where a container may write: its root file system is read-only.
SCRATCH_MOUNT: Object = {"name": "scratch", "mountPath": "/tmp"}
SCRATCH_LIMIT = "256Mi"
INSTANCE = "app.kubernetes.io/instance"
ROLLOUT = "flexcore/rollout"
# An annotation: the rollouts that have answered, the latest first.
GOOD_ROLLOUTS = "flexcore/good-rollouts"
# How often a pod is asked whether it is ready.
PROBE_INTERVAL_S = 2
# While it starts; only then is it asked whether it is ready.
STARTUP_INTERVAL_S = 1
DRAIN_S = model_delivery.DRAIN_S
STOP_GRACE_S = 30
# The pods before the update, to which a failed one is rolled back.
MAX_REVISIONS = 2


@dataclass(frozen=True, slots=True)
class Serving:
    """What is to be served, how, and for whom."""

    model: contracts.ModelManifest
    delivery: model_delivery.Delivery
    name: str
    namespace: str
    key: identity.ExecutionKey
    replicas: int = 1
    cpu: str = "500m"
    memory: str = "1Gi"
    image: str = DEFAULT_MLSERVER_IMAGE
    service_type: str = "ClusterIP"
    timeout_s: int = 600
    mode: str = "deployment"
    scaling: autoscaler.Scaling = field(default_factory=autoscaler.Scaling)
    server: str = "mlserver"
    run_as_user: int | None = None
    writable_root: bool = False
    network_policy: bool = True
    store_endpoint: str = ""

    @property
    def is_own_server(self) -> bool:
        """Whether our own program serves, and not MLServer or another image's."""
        return self.server == "flexcore"

    @property
    def threads(self) -> int:
        return count_threads(self.cpu)

    @property
    def metrics_port(self) -> int:
        return PORT if self.is_own_server else MLSERVER_METRICS_PORT

    @property
    def config_map_name(self) -> str:
        """Of the ConfigMap, which may have a longer name than the rest: 253 characters."""
        return f"{self.name}-model-{self.delivery.digest()}"

    @property
    def secret_name(self) -> str:
        """Of the Secret."""
        return f"{self.name}{SECRET_SUFFIX}"

    def selector(self) -> dict[str, str]:
        """What never changes over updates, as a Deployment's selector must not."""
        return {INSTANCE: self.name, "app.kubernetes.io/component": SERVER}

    def labels(self) -> dict[str, str]:
        return {
            **self.key.labels(1),
            **self.selector(),
            identity.OUTLIVES_RUN: "true",
            "flexcore/model": self.model.name,
        }


def count_threads(cpu: str) -> int:
    """As many as a container's share of the node's cores keeps busy."""
    return max(1, math.ceil(dimensions.parse_quantity(cpu)))


def make_deployment(serving: Serving) -> Object:
    """With its replicas: whoever applies it leaves them out where something scales."""
    template = make_pod_template(serving)
    # Tells the pods of this generation from those before, without waiting for the controller's own hash. Whose costs
    # they are is no other generation: a repeat by another run restarts nothing.
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
    template["metadata"]["labels"] |= {ROLLOUT: digest, **serving.key.cost_labels()}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": make_metadata(serving, serving.name),
        "spec": {
            "replicas": serving.replicas,
            "selector": {"matchLabels": serving.selector()},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "revisionHistoryLimit": MAX_REVISIONS,
            "progressDeadlineSeconds": serving.timeout_s,
            "template": template,
        },
    }


def keep_cost_labels(template: Object, before: Object) -> None:
    """Leaves to pods of the same generation whose costs they are."""
    labels, stored = template["metadata"]["labels"], before["metadata"].get("labels") or {}
    if labels[ROLLOUT] == stored.get(ROLLOUT):
        for name in identity.COST_LABELS:
            labels.pop(name)
        labels |= {name: stored[name] for name in identity.COST_LABELS if name in stored}


def make_pod_template(serving: Serving) -> Object:
    model = serving.model
    return {
        "metadata": {
            "labels": {
                **serving.selector(),
                identity.MANAGED_BY: "flexcore",
                identity.OUTLIVES_RUN: "true",
                "flexcore/model": model.name,
                "flexcore/model-version": identity.label_value(model.version),
            },
            "annotations": {
                "flexcore/model-checksum": model.checksum or "",
                "flexcore/model-uri": model.uri,
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(serving.metrics_port),
                "prometheus.io/path": "/metrics",
            },
        },
        "spec": {
            "initContainers": [make_fetcher(serving)],
            "containers": [make_server(serving)],
            "volumes": make_volumes(serving),
            # Of its own, so that no right that somebody gives the namespace's default is the model's, too.
            "serviceAccountName": serving.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": STOP_GRACE_S,
        },
    }


def make_fetcher(serving: Serving) -> Object:
    """Brings and checks the model; the only container that sees the store's keys."""
    container: Object = {
        "name": model_delivery.FETCHER,
        "image": serving.image,
        "command": [
            "python3",
            f"{model_delivery.PROGRAM_FOLDER}/fetch_model.py",
            f"{model_delivery.PROGRAM_FOLDER}/plan.json",
        ],
        "volumeMounts": [
            {"name": "program", "mountPath": model_delivery.PROGRAM_FOLDER, "readOnly": True},
            *_make_model_mounts(serving),
        ],
        "resources": pod_spec.make_resources(serving.cpu, serving.memory),
        "securityContext": pod_spec.make_security_context(serving.run_as_user, read_only=True),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if serving.delivery.secret:
        container["env"] = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": serving.secret_name, "key": name}}}
            for name in serving.delivery.secret
        ]
    return container


def make_server(serving: Serving) -> Object:
    live, ready = "/v2/health/live", f"/v2/models/{serving.model.name}/ready"
    return {
        "name": SERVER,
        "image": serving.image,
        **(_make_own_start(serving) if serving.is_own_server else _make_mlserver_start(serving)),
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": pod_spec.make_resources(serving.cpu, serving.memory),
        "securityContext": pod_spec.make_security_context(serving.run_as_user, read_only=not serving.writable_root),
        # Loading may take as long as the rollout may; only after that does liveness restart it.
        "startupProbe": _make_probe(live, math.ceil(serving.timeout_s / STARTUP_INTERVAL_S), period=STARTUP_INTERVAL_S),
        "readinessProbe": _make_probe(ready, failures=2),
        "livenessProbe": _make_probe(live, failures=5, period=10),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _make_own_start(serving: Serving) -> Object:
    """Its program is mounted; it drains by itself when it is told to stop."""
    program = {"name": "program", "mountPath": model_delivery.PROGRAM_FOLDER, "readOnly": True}
    starter, config = (
        f"{model_delivery.PROGRAM_FOLDER}/{name}" for name in (model_delivery.STARTER, model_delivery.SERVER_CONFIG)
    )
    return {
        "command": ["python3", starter, config],
        "env": _make_variables(serving, {"PYTHONUNBUFFERED": "1"}),
        "volumeMounts": [program, *_make_model_mounts(serving), SCRATCH_MOUNT],
    }


def _make_mlserver_start(serving: Serving) -> Object:
    settings = {
        "MLSERVER_MODELS_DIR": model_delivery.FOLDER,
        "MLSERVER_HTTP_PORT": str(PORT),
        "MLSERVER_METRICS_PORT": str(MLSERVER_METRICS_PORT),
        "MLSERVER_METRICS_DIR": "/tmp/metrics",
        # Replicas are what scales; a process pool within each would double its memory.
        "MLSERVER_PARALLEL_WORKERS": "0",
    }
    return {
        "env": _make_variables(serving, settings),
        "volumeMounts": [*_make_model_mounts(serving), SCRATCH_MOUNT],
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_S)]}}},
    }


def _make_variables(serving: Serving, settings: dict[str, str]) -> list[Object]:
    # Libraries count the node's cores, not the container's share of them; and its user may have no home.
    variables = {**settings, "OMP_NUM_THREADS": str(serving.threads), "HOME": SCRATCH_MOUNT["mountPath"]}
    return [{"name": name, "value": value} for name, value in variables.items()]


def make_volumes(serving: Serving) -> list[Object]:
    keys = sorted(serving.delivery.files)
    items = [{"key": key, "path": model_delivery.program_path(key)} for key in keys]
    program = {"name": serving.config_map_name, "items": items}
    scratch = {"name": "scratch", "emptyDir": {"sizeLimit": SCRATCH_LIMIT}}
    volumes: list[Object] = [{"name": "program", "configMap": program}, scratch]
    if serving.delivery.volume:
        volumes.append({"name": "model", **serving.delivery.volume})
    return volumes


def make_config_map(serving: Serving, owner: Mapping[str, Any] | None) -> Object:
    metadata = make_metadata(serving, serving.config_map_name, owner)
    data = serving.delivery.files
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data, "immutable": True}


def make_secret(serving: Serving, owner: Mapping[str, Any] | None) -> Object:
    metadata = make_metadata(serving, serving.secret_name, owner)
    # Not stringData, which only writes: what is left out of a later apply would stay.
    data = {name: base64.b64encode(value.encode()).decode() for name, value in serving.delivery.secret.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def make_service(serving: Serving, owner: Mapping[str, Any] | None) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": make_metadata(serving, serving.name, owner),
        "spec": {
            "type": serving.service_type,
            "selector": serving.selector(),
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def read_good(item: Mapping[str, Any]) -> list[str]:
    """The rollouts of it that have answered, the latest first; none of what an earlier version has made."""
    notes = item["metadata"].get("annotations") or {}
    return [digest for digest in str(notes.get(GOOD_ROLLOUTS) or "").split(",") if digest]


def mark_good(item: Mapping[str, Any] | None, digest: str | None) -> dict[str, str]:
    """The annotation once the rollout has answered, with those before that are kept."""
    earlier = [each for each in (read_good(item) if item else []) if each != digest]
    return {GOOD_ROLLOUTS: ",".join([str(digest), *earlier][: MAX_REVISIONS + 1])}


def make_metadata(serving: Serving, name: str, owner: Mapping[str, Any] | None = None) -> Object:
    metadata: Object = {"name": name, "namespace": serving.namespace, "labels": serving.labels()}
    if owner:
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
        reference["uid"] = owner["metadata"]["uid"]
        metadata["ownerReferences"] = [{**reference, "blockOwnerDeletion": True}]
    return metadata


def _make_model_mounts(serving: Serving) -> list[Object]:
    if not serving.delivery.volume:
        return []
    mount: Object = {"name": "model", "mountPath": model_delivery.FOLDER}
    if serving.delivery.sub_path:
        mount["subPath"] = serving.delivery.sub_path
    if "persistentVolumeClaim" in serving.delivery.volume:
        mount["readOnly"] = True
    return [mount]


def _make_probe(path: str, failures: int, period: int = PROBE_INTERVAL_S) -> Object:
    get = {"path": path, "port": "http"}
    return {"httpGet": get, "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures}
