# requirements: flexcore_base
"""A Ray cluster on Kubernetes as a form, and the objects that make it. Pure.

ClusterSpec ─┬─ cluster_manifest   the RayCluster of KubeRay         cluster_body   its spec alone, for a RayJob
             ├─ token_secret       the Secret that holds Ray's token
             └─ network_policy     who may talk to its pods, and whom they may talk to

Source: KubeRay's ray-operator/apis/ray/v1 and controllers/ray/common/pod.go, 1.5 to 1.7; what is said of the pods was
seen with Ray 2.60.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from f.flexcore.lib.core import dimensions, resources

Object = dict[str, Any]
API_VERSION = "ray.io/v1"
IMAGE = "rayproject/ray"
# The user of Ray's own images; "restricted" pods must say that theirs is not root.
RAY_USER = 1000
# KubeRay makes the names of pods and Services of it, and refuses a longer one.
MAX_NAME_LENGTH = 53
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
GROUP_NAME = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
# As KubeRay itself names it, where it makes the Secret.
TOKEN_KEY = "auth_token"
DASHBOARD_PORT, SERVE_PORT, METRICS_PORT, DNS_PORT = 8265, 8000, 8080, 53
# Where the autoscaler finds the API server: its Service, and the server itself behind it.
API_SERVER_PORTS = (443, 6443)
ANYWHERE = ("0.0.0.0/0", "::/0")
# Where the head keeps its tables on the volume that outlives it.
GCS_FOLDER = "/flexcore-gcs"
# On a busy node Ray's own 30 s for a node's first word are too short, and its container would end.
START_WAIT_S = 120
# A head that comes back takes a minute or two; without this the workers give up first.
RECONNECT_TIMEOUT_S = 600


def check_cluster_name(name: str) -> str:
    """ValueError for a name that KubeRay refuses."""
    if len(name) > MAX_NAME_LENGTH or not NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is not a name of a Ray cluster: use lower-case letters, digits and dashes, a letter first, "
            f"at most {MAX_NAME_LENGTH}"
        )
    return name


ClusterName = Annotated[str, AfterValidator(check_cluster_name)]


class WorkerGroup(resources.Form):
    """Workers of one kind; the autoscaler keeps their number between min_workers and max_workers."""

    name: str = Field(default="workers", pattern=GROUP_NAME, description="Name of the group.")
    min_workers: int = Field(default=0, ge=0, description="Workers that are always there.")
    max_workers: int = Field(default=1, ge=1, description="Most workers; more than min_workers lets Ray scale.")
    cpu: dimensions.CpuQuantity = Field(default="1", description="CPU of each worker, e.g. 500m or 2.")
    memory: dimensions.MemoryQuantity = Field(default="2Gi", description="Memory of each worker, e.g. 2Gi.")
    gpus: int = Field(default=0, ge=0, description="GPUs of each worker.")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Kubernetes' name of these GPUs.")
    labels: dict[str, str] = Field(
        default={}, description="Ray's labels of these nodes, which label selectors of jobs and tasks look for."
    )
    tolerations: list[dict[str, Any]] = Field(default=[], description="Taints that these pods tolerate.")
    node_selector: dict[str, str] = Field(default={}, description="Labels that their Kubernetes nodes must have.")
    idle_timeout_s: int | None = Field(
        default=None, ge=1, description="Seconds after which an idle worker of this group goes; empty: the cluster's."
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> WorkerGroup:
        if self.min_workers > self.max_workers:
            raise ValueError(f"min_workers {self.min_workers} is more than max_workers {self.max_workers}")
        return self


class ClusterSpec(resources.Form):
    """What a Ray cluster on Kubernetes is made of. Requests are limits: what Ray counts with is what the pods have."""

    ray_version: str = Field(default="2.60.0", pattern=r"^\d+\.\d+\.\d+$", description="Ray's version in the image.")
    image: str = Field(default="", description="Image of all its pods; empty means Ray's own of that version.")
    head_cpu: dimensions.CpuQuantity = Field(default="1", description="CPU of the head, e.g. 1 or 2.")
    head_memory: dimensions.MemoryQuantity = Field(default="4Gi", description="Memory of the head, e.g. 4Gi.")
    head_takes_work: bool = Field(
        default=False, description="Whether tasks and actors may run on the head, too; jobs' own programs always may."
    )
    head_labels: dict[str, str] = Field(default={}, description="Ray's labels of the head's node.")
    head_tolerations: list[dict[str, Any]] = Field(default=[], description="Taints that the head's pod tolerates.")
    head_node_selector: dict[str, str] = Field(default={}, description="Labels that its Kubernetes node must have.")
    groups: list[WorkerGroup] = Field(default=[WorkerGroup()], description="Groups of workers.")
    idle_timeout_s: int = Field(
        default=60, ge=1, description="Seconds after which the autoscaler takes an idle worker."
    )
    autoscaler_cpu: dimensions.CpuQuantity = Field(default="500m", description="CPU of the autoscaler beside the head.")
    autoscaler_memory: dimensions.MemoryQuantity = Field(default="512Mi", description="Memory of the autoscaler.")
    fault_tolerance: Literal["none", "redis", "rocksdb"] = Field(
        default="none", description="Where the head's tables outlive it: nowhere, in a Redis, or on a volume (RocksDB)."
    )
    redis_address: str = Field(default="", description="For redis: its address, e.g. redis:6379.")
    redis_secret: str = Field(default="", description="For redis: the Secret whose key `password` holds its password.")
    gcs_volume_claim: str = Field(
        default="", description="For rocksdb: the PersistentVolumeClaim that the head keeps its tables on."
    )
    token_auth: bool = Field(
        default=True, description="Whether Ray asks for a token; off only behind a closed network."
    )
    run_as_user: int = Field(default=RAY_USER, ge=1, description="User id in the pods; Ray's own images have 1000.")
    service_account: str = Field(default="", description="Service account of the workers' pods.")
    image_pull_secrets: list[str] = Field(default=[], description="Secrets with which the image is pulled.")
    network_policy: bool = Field(default=True, description="Whether a NetworkPolicy guards its pods.")
    allow_from: list[str] = Field(
        default=[],
        description="Networks (10.0.0.0/8) that reach dashboard and Serve; empty: all, and the token guards them.",
    )
    allow_to: list[str] = Field(
        default=list(ANYWHERE), description="Networks that its pods reach besides DNS, each other and the API server."
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> ClusterSpec:
        names = [group.name for group in self.groups]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"groups: two are named {', '.join(twice)}")
        if "headgroup" in names:
            raise ValueError("groups: headgroup is the name of the head's own group: choose another")
        given = {"redis": bool(self.redis_address), "rocksdb": bool(self.gcs_volume_claim)}
        needed = {"redis": "redis_address", "rocksdb": "gcs_volume_claim"}
        for kind, field in needed.items():
            if self.fault_tolerance == kind and not given[kind]:
                raise ValueError(f"fault_tolerance {kind} needs {field}")
            if self.fault_tolerance != kind and given[kind]:
                raise ValueError(f"{field} is for fault_tolerance {kind}, which is {self.fault_tolerance}")
        return self

    @property
    def autoscales(self) -> bool:
        return any(group.max_workers > group.min_workers for group in self.groups)

    @property
    def min_workers(self) -> int:
        return sum(group.min_workers for group in self.groups)

    @property
    def pod_image(self) -> str:
        return self.image or f"{IMAGE}:{self.ray_version}"


def token_secret_name(name: str) -> str:
    """The Secret with the cluster's token: named as the cluster, as KubeRay's authOptions name it."""
    return name


def head_service_name(name: str) -> str:
    return f"{name}-head-svc"


def cluster_manifest(
    spec: ClusterSpec,
    name: str,
    namespace: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    *,
    has_auth_options: bool = False,
) -> Object:
    """The RayCluster. labels: of its owner, on it and on its pods; has_auth_options: whether KubeRay's CRD knows
    authOptions (1.5.1 and later); else the pods themselves are told to ask for the token."""
    return {
        "apiVersion": API_VERSION,
        "kind": "RayCluster",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict(labels),
            **({"annotations": dict(annotations)} if annotations else {}),
        },
        "spec": cluster_body(spec, token_secret_name(name), labels, has_auth_options=has_auth_options),
    }


def cluster_body(
    spec: ClusterSpec, secret: str, labels: Mapping[str, str] | None = None, *, has_auth_options: bool = False
) -> Object:
    """The `spec` of a RayCluster, or `rayClusterSpec` of a RayJob or RayService. secret: the Secret with the token."""
    tells_pods = spec.token_auth and not has_auth_options
    token = _token_env(secret) if tells_pods else []
    body: Object = {
        "rayVersion": spec.ray_version,
        "headGroupSpec": _head_group(spec, token, labels or {}),
        "workerGroupSpecs": [_worker_group(spec, group, token, labels or {}) for group in spec.groups],
    }
    if spec.autoscales:
        body |= {"enableInTreeAutoscaling": True, "autoscalerOptions": _autoscaler(spec, token)}
    if spec.token_auth and has_auth_options:
        body["authOptions"] = {"mode": "token"}
    if spec.fault_tolerance == "redis":
        password = {"redisPassword": {"valueFrom": _secret_key(spec.redis_secret, "password")}}
        body["gcsFaultToleranceOptions"] = {
            "redisAddress": spec.redis_address,
            **(password if spec.redis_secret else {}),
        }
    return body


def token_secret(name: str, namespace: str, labels: Mapping[str, str], token: str) -> Object:
    """The Secret that holds the token of the cluster `name`."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": token_secret_name(name), "namespace": namespace, "labels": dict(labels)},
        "type": "Opaque",
        "stringData": {TOKEN_KEY: token},
    }


def network_policy(
    spec: ClusterSpec, name: str, namespace: str, labels: Mapping[str, str], pods: Mapping[str, str] | None = None
) -> Object:
    """Who reaches the cluster's pods (each other; dashboard and Serve from outside; metrics from any pod), and whom
    they reach (each other, DNS, the API server, and the networks of the form). pods: their labels, where they are not
    those of the RayCluster `name`."""
    itself: Object = {"podSelector": {"matchLabels": dict(pods or {"ray.io/cluster": name})}}
    callers = {"from": [_network(item) for item in spec.allow_from]} if spec.allow_from else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            **itself,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [itself]},
                {**callers, "ports": [_port(DASHBOARD_PORT), _port(SERVE_PORT)]},
                {"from": [{"namespaceSelector": {}}], "ports": [_port(METRICS_PORT)]},
            ],
            "egress": [
                {"to": [itself]},
                {"ports": [_port(DNS_PORT, "UDP"), _port(DNS_PORT)]},
                {"ports": [_port(number) for number in API_SERVER_PORTS]},
                *([{"to": [_network(item) for item in spec.allow_to]}] if spec.allow_to else []),
            ],
        },
    }


def _head_group(spec: ClusterSpec, token: list[Object], labels: Mapping[str, str]) -> Object:
    start = {"dashboard-host": "0.0.0.0", **({} if spec.head_takes_work else {"num-cpus": "0"})}
    pod = _pod(spec, "ray-head", spec.head_cpu, spec.head_memory, {}, token)
    pod["containers"][0]["ports"] = [
        {"name": "gcs-server", "containerPort": 6379},
        {"name": "dashboard", "containerPort": DASHBOARD_PORT},
        {"name": "client", "containerPort": 10001},
        {"name": "serve", "containerPort": SERVE_PORT},
    ]
    if spec.fault_tolerance == "rocksdb":
        container = pod["containers"][0]
        container["env"] = [
            *container["env"],
            {"name": "RAY_gcs_storage", "value": "rocksdb"},
            {"name": "RAY_gcs_storage_path", "value": GCS_FOLDER},
        ]
        container["volumeMounts"] = [{"name": "gcs", "mountPath": GCS_FOLDER}]
        pod["volumes"] = [{"name": "gcs", "persistentVolumeClaim": {"claimName": spec.gcs_volume_claim}}]
    return {
        "rayStartParams": start,
        **({"labels": dict(spec.head_labels)} if spec.head_labels else {}),
        "template": {
            **_pod_labels(labels),
            "spec": pod | _place(spec.head_tolerations, spec.head_node_selector),
        },
    }


def _worker_group(spec: ClusterSpec, group: WorkerGroup, token: list[Object], labels: Mapping[str, str]) -> Object:
    gpus = {group.gpu_resource: str(group.gpus)} if group.gpus else {}
    pod = _pod(spec, "ray-worker", group.cpu, group.memory, gpus, token)
    if spec.fault_tolerance == "rocksdb":
        # KubeRay sets this by itself for redis alone.
        wait = {"name": "RAY_gcs_rpc_server_reconnect_timeout_s", "value": str(RECONNECT_TIMEOUT_S)}
        pod["containers"][0]["env"] = [*pod["containers"][0]["env"], wait]
    if spec.service_account:
        pod["serviceAccountName"] = spec.service_account
    return {
        "groupName": group.name,
        "replicas": group.min_workers,
        "minReplicas": group.min_workers,
        "maxReplicas": group.max_workers,
        "rayStartParams": {},
        **({"labels": dict(group.labels)} if group.labels else {}),
        **({"idleTimeoutSeconds": group.idle_timeout_s} if group.idle_timeout_s else {}),
        "template": {**_pod_labels(labels), "spec": pod | _place(group.tolerations, group.node_selector)},
    }


def _pod(spec: ClusterSpec, container: str, cpu: str, memory: str, gpus: Object, token: list[Object]) -> Object:
    amounts = {"cpu": cpu, "memory": memory, **gpus}
    return {
        # What autoscaler v2 needs: a container that is restarted in its pod would be a node that it does not know.
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": spec.run_as_user,
            "fsGroup": spec.run_as_user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **(
            {"imagePullSecrets": [{"name": name} for name in spec.image_pull_secrets]}
            if spec.image_pull_secrets
            else {}
        ),
        "containers": [
            {
                "name": container,
                "image": spec.pod_image,
                "imagePullPolicy": "IfNotPresent",
                "resources": {"requests": amounts, "limits": dict(amounts)},
                "securityContext": _container_security(),
                "env": [{"name": "RAY_raylet_start_wait_time_s", "value": str(START_WAIT_S)}, *token],
            }
        ],
    }


def _autoscaler(spec: ClusterSpec, token: list[Object]) -> Object:
    amounts = {"cpu": spec.autoscaler_cpu, "memory": spec.autoscaler_memory}
    return {
        "version": "v2",
        "upscalingMode": "Default",
        "idleTimeoutSeconds": spec.idle_timeout_s,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": amounts, "limits": dict(amounts)},
        "securityContext": _container_security(),
        **({"env": list(token)} if token else {}),
    }


def _container_security() -> Object:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _token_env(secret: str) -> list[Object]:
    return [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": _secret_key(secret, TOKEN_KEY)},
    ]


def _secret_key(secret: str, key: str) -> Object:
    return {"secretKeyRef": {"name": secret, "key": key}}


def _pod_labels(labels: Mapping[str, str]) -> Object:
    return {"metadata": {"labels": dict(labels)}} if labels else {}


def _place(tolerations: list[dict[str, Any]], node_selector: Mapping[str, str]) -> Object:
    place: Object = {}
    if tolerations:
        place["tolerations"] = [dict(item) for item in tolerations]
    if node_selector:
        place["nodeSelector"] = dict(node_selector)
    return place


def _network(cidr: str) -> Object:
    return {"ipBlock": {"cidr": cidr}}


def _port(number: int, protocol: str = "TCP") -> Object:
    return {"port": number, "protocol": protocol}
