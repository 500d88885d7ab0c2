# requirements: flexcore_kubernetes
"""The objects of a model that KServe serves, in its Standard mode: one InferenceService, and what its pods need. Pure.

KServe owns the rest: the Deployment and Service `NAME-predictor`, the autoscaler, and the weights of a canary
(`canaryTrafficPercent`), which is in nothing that we apply. Pods are the same as without it.
Source: pkg/apis/serving/v1beta1/component.go and reconcilers/service/service_reconciler.go of kserve/kserve
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import autoscaler, cluster_objects, serving_manifests

Object = dict[str, Any]

# Standard by its first name: every version knows it, and the newer ones take it for theirs.
MODE = ("serving.kserve.io/deploymentMode", "RawDeployment")
AUTOSCALER_CLASS = "serving.kserve.io/autoscalerClass"
SERVICE_LABEL = "serving.kserve.io/inferenceservice"
PREDICTOR = "-predictor"
# The name by which it finds the server among a pod's containers.
CONTAINER = "kserve-container"
MAX_NAME_CHARACTERS = 63 - len(PREDICTOR)


def check(serving_name: str, service_type: str, scaling: autoscaler.Scaling) -> None:
    """Raises InvalidInput for what KServe cannot do, whatever cluster it is in."""
    if len(serving_name) > MAX_NAME_CHARACTERS:
        raise _wrong(
            "name",
            f"{serving_name!r} is too long: KServe appends {PREDICTOR}",
            f"Use at most {MAX_NAME_CHARACTERS} characters.",
        )
    if service_type != "ClusterIP":
        raise _wrong(
            "service_type",
            f"{service_type} is not ours to choose: KServe makes the Service",
            "Leave it at ClusterIP, or use mode deployment.",
        )
    if scaling.is_automatic and scaling.on == "requests" and not scaling.prometheus_url:
        raise _wrong(
            "prometheus_url",
            "is missing: KServe scales on requests by KEDA, which asks Prometheus",
            "Give the address at which the cluster reaches Prometheus, or scale on cpu.",
        )


def check_served(place: cluster_objects.Namespace, scaling: autoscaler.Scaling) -> None:
    """Raises InvalidInput that names what the cluster lacks."""
    kind = cluster_objects.INFERENCE_SERVICES
    if not place.serves(kind):
        versions = place.groups().get(kind.group)
        has = f"its KServe serves {', '.join(versions)} and not {kind.version}" if versions else "it has no KServe"
        raise _wrong(
            "mode",
            f"kserve cannot be used in this cluster: {has} ({kind.group}/{kind.version})",
            "Use mode deployment, or have KServe installed.",
        )
    if scaling.is_automatic and scaling.on == "requests" and not place.serves(cluster_objects.SCALED_OBJECTS):
        raise _wrong(
            "scale_on",
            "requests cannot be measured in this cluster: KServe needs KEDA for it, and it is not there",
            "Scale on cpu, or have KEDA installed.",
        )


def make_inference_service(serving: serving_manifests.Serving) -> Object:
    template = serving_manifests.make_pod_template(serving)
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
    pod = template["spec"]
    pod["containers"][0]["name"] = CONTAINER
    metadata = serving_manifests.make_metadata(serving, serving.name)
    metadata["annotations"] = dict([MODE, (AUTOSCALER_CLASS, _choose_class(serving.scaling))])
    predictor = {
        **_make_scaling(serving),
        "labels": {
            **template["metadata"]["labels"],
            serving_manifests.ROLLOUT: digest,
            **serving.key.cost_labels(),
        },
        "annotations": template["metadata"]["annotations"],
        "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        **pod,
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor},
    }


def _choose_class(scaling: autoscaler.Scaling) -> str:
    return "keda" if scaling.is_automatic and scaling.on == "requests" else "hpa"


def _make_scaling(serving: serving_manifests.Serving) -> Object:
    """A fixed number is a range of one: versions before 0.15 know no way to say it otherwise."""
    scaling = serving.scaling
    bounds: Object = {"minReplicas": serving.replicas, "maxReplicas": serving.replicas}
    if not scaling.is_automatic:
        return bounds
    bounds["maxReplicas"] = scaling.max_replicas
    if scaling.on != "requests":
        return {**bounds, "scaleMetric": scaling.on, "scaleTarget": autoscaler.choose_percent(scaling)}
    source = {
        "backend": "prometheus",
        "serverAddress": scaling.prometheus_url,
        "query": autoscaler.make_query(scaling, serving.namespace, f"{serving.name}{PREDICTOR}"),
    }
    target = {"type": "AverageValue", "averageValue": autoscaler.format_amount(scaling.target or 0)}
    return {
        **bounds,
        "autoScaling": {"metrics": [{"type": "External", "external": {"metric": source, "target": target}}]},
    }


def make_budget(serving: serving_manifests.Serving, owner: Object | None) -> Object:
    metadata = serving_manifests.make_metadata(serving, serving.name, owner)
    return autoscaler.make_budget(serving.scaling, metadata, {SERVICE_LABEL: serving.name})


def read_digest(service: Object) -> str | None:
    """The generation that the InferenceService asks for."""
    digest: str | None = service["spec"]["predictor"].get("labels", {}).get(serving_manifests.ROLLOUT)
    return digest


def find_condition(service: Object, kind: str) -> Object | None:
    conditions = (service.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item.get("type") == kind), None)


def describe_conditions(service: Object) -> str:
    """What KServe says is not ready, in its own words."""
    conditions = (service.get("status") or {}).get("conditions") or ()
    texts = [
        f"{item.get('type')}: {item.get('reason') or item.get('status')} {item.get('message') or ''}".strip()
        for item in conditions
        if item.get("status") != "True"
    ]
    return re.sub(r"\s+", " ", "; ".join(texts)) or "KServe has not said anything about it yet"


def _wrong(field: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{field}: {problem}", subject=field, remedy=remedy)
