# requirements: flexcore_base
"""What KubeRay itself would refuse of an object that the API server takes: it says so later, in a status or an event.
Pure.

Source: ray-operator/controllers/ray/utils/validation.go of KubeRay 1.5 and 1.7; the name of what each rule reads is
its path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]
NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
# KubeRay makes the names of Services of a cluster's, and a cluster's of a job's or service's with 6 characters more.
MAX_NAME_LENGTHS = {"RayCluster": 53, "RayJob": 47, "RayService": 47}
# A name that is generated gets five characters more.
GENERATED_LENGTH = 5
CLUSTER_FIELDS = {"RayCluster": "", "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}
MODES = ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode")
UPGRADES = ("NewCluster", "NewClusterWithIncrementalUpgrade", "None")
RESOURCE_PARAMS = ("num-cpus", "num-gpus", "memory", "resources")


@dataclass(frozen=True, slots=True)
class RuleProblem:
    path: str
    text: str
    remedy: str


def find_problems(kind: str, document: Object) -> list[RuleProblem]:
    return list(_find(kind, document))


def _find(kind: str, document: Object) -> Iterator[RuleProblem]:
    metadata, spec = document.get("metadata"), document.get("spec")
    if not isinstance(metadata, Mapping):
        yield RuleProblem("metadata", "is missing", "Give metadata with a name.")
        metadata = {}
    else:
        yield from _check_name(kind, metadata)
    if not isinstance(spec, Mapping):
        yield RuleProblem("spec", "is missing", f"Give the spec of the {kind}.")
        return
    if kind == "RayJob":
        yield from _check_job(spec)
    if kind == "RayService":
        yield from _check_service(spec)
    field = CLUSTER_FIELDS[kind]
    cluster = spec.get(field) if field else spec
    path = f"spec.{field}" if field else "spec"
    if isinstance(cluster, Mapping):
        yield from _check_cluster(path, cluster, metadata.get("annotations") or {})
    elif kind == "RayService":
        yield RuleProblem(path, "is missing", "Give the Ray cluster that serves.")


def _check_name(kind: str, metadata: Object) -> Iterator[RuleProblem]:
    name, generated = str(metadata.get("name") or ""), str(metadata.get("generateName") or "")
    longest = MAX_NAME_LENGTHS[kind]
    if not name and generated:
        name, longest = generated.rstrip("-") or generated, longest - GENERATED_LENGTH
    if not name:
        yield RuleProblem("metadata.name", "is missing", f"Name the {kind}.")
    elif len(name) > longest:
        yield RuleProblem("metadata.name", f"has {len(name)} characters", f"KubeRay takes at most {longest}.")
    elif not NAME.fullmatch(name):
        remedy = "Use lower-case letters, digits and dashes, a letter first, no dash last."
        yield RuleProblem("metadata.name", f"{name!r} is refused by KubeRay", remedy)


def _check_job(spec: Object) -> Iterator[RuleProblem]:
    selector, shuts_down = spec.get("clusterSelector") or {}, bool(spec.get("shutdownAfterJobFinishes"))
    mode = str(spec.get("submissionMode") or MODES[0])
    if not selector and not spec.get("rayClusterSpec"):
        yield RuleProblem(
            "spec.rayClusterSpec", "is missing", "Give the cluster, or clusterSelector with the name of one."
        )
    if selector and not selector.get("ray.io/cluster"):
        yield RuleProblem("spec.clusterSelector", "names no cluster", "Give {ray.io/cluster: NAME}.")
    if mode not in MODES:
        yield RuleProblem("spec.submissionMode", f"{mode!r} is unknown", f"Use one of {', '.join(MODES)}.")
    if spec.get("suspend") and not shuts_down:
        yield RuleProblem(
            "spec.suspend", "needs shutdownAfterJobFinishes", "Set spec.shutdownAfterJobFinishes to true."
        )
    if spec.get("suspend") and selector:
        yield RuleProblem("spec.suspend", "cannot be used with clusterSelector", "Leave one of them out.")
    ttl, backoff = _number(spec.get("ttlSecondsAfterFinished")), _number(spec.get("backoffLimit"))
    if ttl < 0:
        yield RuleProblem("spec.ttlSecondsAfterFinished", "is negative", "Use 0 or more.")
    if ttl > 0 and not shuts_down:
        yield RuleProblem("spec.ttlSecondsAfterFinished", "needs shutdownAfterJobFinishes", "Set that to true.")
    if backoff < 0 or (backoff > 0 and mode == "InteractiveMode"):
        yield RuleProblem("spec.backoffLimit", "cannot be used with InteractiveMode or be negative", "Leave it out.")
    for name in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(name) is not None and _number(spec.get(name)) <= 0:
            yield RuleProblem(f"spec.{name}", "must be positive", "Use seconds, at least 1.")
    if mode == "SidecarMode":
        yield from _check_sidecar(spec, bool(selector))
    yield from _check_deletion(spec.get("deletionStrategy"), shuts_down, bool(selector))
    yield from _check_runtime_env(spec.get("runtimeEnvYAML"))


def _check_sidecar(spec: Object, has_selector: bool) -> Iterator[RuleProblem]:
    if has_selector:
        yield RuleProblem("spec.clusterSelector", "cannot be used with SidecarMode", "Use K8sJobMode or HTTPMode.")
    for name in ("submitterPodTemplate", "submitterConfig"):
        if spec.get(name) is not None:
            yield RuleProblem(f"spec.{name}", "cannot be used with SidecarMode", "Leave it out, or use K8sJobMode.")


def _check_deletion(strategy: Any, shuts_down: bool, has_selector: bool) -> Iterator[RuleProblem]:
    if not isinstance(strategy, Mapping):
        return
    path, rules = "spec.deletionStrategy", strategy.get("deletionRules") or []
    legacy = [name for name in ("onSuccess", "onFailure") if strategy.get(name)]
    if rules and legacy:
        yield RuleProblem(path, f"{legacy[0]} and deletionRules cannot both be given", "Use deletionRules alone.")
    elif not rules and len(legacy) != 2:
        yield RuleProblem(path, "is incomplete", "Give deletionRules, or both of onSuccess and onFailure.")
    if rules and shuts_down:
        remedy = "Leave deletionRules out: shutdownAfterJobFinishes ends the cluster at a deadline, too (kuberay 5184)."
        yield RuleProblem(path, "deletionRules and shutdownAfterJobFinishes exclude each other", remedy)
    for number, rule in enumerate(rules if isinstance(rules, list) else []):
        policy = rule.get("policy") if isinstance(rule, Mapping) else None
        if has_selector and policy in ("DeleteCluster", "DeleteWorkers"):
            text = f"{policy} cannot be used with clusterSelector"
            yield RuleProblem(
                f"{path}.deletionRules.{number}", text, "The cluster is not this job's: leave the rule out."
            )


def _check_runtime_env(text: Any) -> Iterator[RuleProblem]:
    if not text:
        return
    import yaml

    try:
        value = yaml.safe_load(str(text))
    except yaml.YAMLError:
        value = None
    if not isinstance(value, Mapping):
        yield RuleProblem("spec.runtimeEnvYAML", "is not a YAML mapping", "Write e.g. 'pip: [pandas]'.")


def _check_service(spec: Object) -> Iterator[RuleProblem]:
    strategy = spec.get("upgradeStrategy") or {}
    kind, cluster = strategy.get("type"), spec.get("rayClusterConfig") or {}
    if kind is not None and kind not in UPGRADES:
        yield RuleProblem("spec.upgradeStrategy.type", f"{kind!r} is unknown", f"Use one of {', '.join(UPGRADES)}.")
    if _number(spec.get("rayClusterDeletionDelaySeconds")) < 0:
        yield RuleProblem("spec.rayClusterDeletionDelaySeconds", "is negative", "Use 0 or more.")
    service = (cluster.get("headGroupSpec") or {}).get("headService") or {}
    if (service.get("metadata") or {}).get("name"):
        path = "spec.rayClusterConfig.headGroupSpec.headService.metadata.name"
        yield RuleProblem(path, "cannot be set: each version has a head Service of its own", "Leave it out.")
    if kind == "NewClusterWithIncrementalUpgrade":
        yield from _check_incremental(strategy.get("clusterUpgradeOptions"), cluster)


def _check_incremental(options: Any, cluster: Object) -> Iterator[RuleProblem]:
    path = "spec.upgradeStrategy.clusterUpgradeOptions"
    if not cluster.get("enableInTreeAutoscaling"):
        text = "is needed for an incremental upgrade"
        yield RuleProblem("spec.rayClusterConfig.enableInTreeAutoscaling", text, "Set it to true.")
    if not isinstance(options, Mapping):
        yield RuleProblem(path, "is missing", "Give gatewayClassName, stepSizePercent and intervalSeconds.")
        return
    for name, least, most in (("maxSurgePercent", 0, 100), ("stepSizePercent", 0, 100), ("intervalSeconds", 1, None)):
        value = options.get(name, 100 if name == "maxSurgePercent" else None)
        if value is None or _number(value) < least or (most is not None and _number(value) > most):
            bounds = f"from {least} to {most}" if most is not None else f"at least {least}"
            yield RuleProblem(f"{path}.{name}", "is missing or out of its bounds", f"Use a number {bounds}.")
    if not options.get("gatewayClassName"):
        yield RuleProblem(f"{path}.gatewayClassName", "is missing", "Name a GatewayClass: kubectl get gatewayclass.")


# --- the cluster


def _check_cluster(path: str, cluster: Object, annotations: Object) -> Iterator[RuleProblem]:
    scales, options = bool(cluster.get("enableInTreeAutoscaling")), cluster.get("autoscalerOptions") or {}
    head = cluster.get("headGroupSpec")
    if not isinstance(head, Mapping):
        yield RuleProblem(f"{path}.headGroupSpec", "is missing", "Give the head's group with its pod template.")
        head = {}
    else:
        yield from _check_group(f"{path}.headGroupSpec", head)
        yield from _check_head(path, head, cluster, annotations, scales, options)
    seen: set[str] = set()
    for number, group in enumerate(cluster.get("workerGroupSpecs") or []):
        where = f"{path}.workerGroupSpecs.{number}"
        if not isinstance(group, Mapping):
            yield RuleProblem(where, "must be a mapping", "Give groupName, replicas and the pod template.")
            continue
        yield from _check_group(where, group)
        yield from _check_workers(where, group, scales, seen)
    # KubeRay 1.5 looks at the option alone, whatever Ray's own default is.
    if scales and options.get("version") == "v2":
        yield from _check_restart_policies(path, cluster)


def _check_group(path: str, group: Object) -> Iterator[RuleProblem]:
    params, template = group.get("rayStartParams") or {}, group.get("template") or {}
    if not (template.get("spec") or {}).get("containers"):
        yield RuleProblem(f"{path}.template.spec.containers", "is empty", "Give the container that runs Ray, first.")
    twice = [name for name in RESOURCE_PARAMS if params.get(name)]
    if twice and group.get("resources"):
        text = f"resources and rayStartParams.{twice[0]} cannot both be given"
        yield RuleProblem(f"{path}.resources", text, "Use one of them.")
    if "labels" in params:
        yield RuleProblem(
            f"{path}.rayStartParams.labels", "is not taken", f"Use labels beside rayStartParams ({path}.labels)."
        )


def _check_head(
    path: str, head: Object, cluster: Object, annotations: Object, scales: bool, options: Object
) -> Iterator[RuleProblem]:
    env, where = _env(head), f"{path}.headGroupSpec"
    tolerance = cluster.get("gcsFaultToleranceOptions")
    enabled = tolerance is not None or str(annotations.get("ray.io/ft-enabled")).lower() == "true"
    if tolerance is not None and annotations.get("ray.io/ft-enabled"):
        text = "and the annotation ray.io/ft-enabled cannot both be given"
        yield RuleProblem(f"{path}.gcsFaultToleranceOptions", text, "Leave the annotation out.")
    if tolerance is not None and annotations.get("ray.io/external-storage-namespace"):
        text = "and the annotation ray.io/external-storage-namespace cannot both be given"
        yield RuleProblem(f"{path}.gcsFaultToleranceOptions", text, "Use its externalStorageNamespace.")
    if not enabled and "RAY_REDIS_ADDRESS" in env:
        text = "RAY_REDIS_ADDRESS without gcsFaultToleranceOptions is refused"
        yield RuleProblem(f"{where}.template", text, f"Use {path}.gcsFaultToleranceOptions.redisAddress.")
    params = head.get("rayStartParams") or {}
    if tolerance is not None:
        for name, instead in (("REDIS_PASSWORD", "redisPassword"), ("RAY_REDIS_ADDRESS", "redisAddress")):
            if name in env:
                text = f"the variable {name} cannot be set beside gcsFaultToleranceOptions"
                yield RuleProblem(f"{where}.template", text, f"Use {path}.gcsFaultToleranceOptions.{instead}.")
        if params.get("redis-password"):
            text = "cannot be set beside gcsFaultToleranceOptions"
            yield RuleProblem(f"{where}.rayStartParams.redis-password", text, "Use its redisPassword.")
    if params.get("redis-username") or "REDIS_USERNAME" in env:
        yield RuleProblem(
            where, "a Redis user name is refused here", f"Use {path}.gcsFaultToleranceOptions.redisUsername."
        )
    yield from _check_scaling(path, env, scales, options)


def _check_scaling(path: str, env: Mapping[str, str], scales: bool, options: Object) -> Iterator[RuleProblem]:
    forced = env.get("RAY_enable_autoscaler_v2")
    if not scales and forced in ("1", "true"):
        text = "RAY_enable_autoscaler_v2 is set, and enableInTreeAutoscaling is not"
        yield RuleProblem(f"{path}.enableInTreeAutoscaling", text, "Set it to true, or leave the variable out.")
    if scales and forced is not None and options.get("version"):
        text = "and the variable RAY_enable_autoscaler_v2 cannot both be given"
        yield RuleProblem(f"{path}.autoscalerOptions.version", text, "Leave the variable out.")


def _check_workers(path: str, group: Object, scales: bool, seen: set[str]) -> Iterator[RuleProblem]:
    name = str(group.get("groupName") or "")
    if not name:
        yield RuleProblem(f"{path}.groupName", "is missing", "Name the group.")
    elif name in seen:
        yield RuleProblem(f"{path}.groupName", f"{name!r} is there twice", "Give each group a name of its own.")
    seen.add(name)
    if group.get("suspend") and scales:
        yield RuleProblem(f"{path}.suspend", "cannot be used with the autoscaler", "Leave it out.")
    least, most = _number(group.get("minReplicas")), group.get("maxReplicas")
    if most is not None and _number(most) < least:
        yield RuleProblem(f"{path}.maxReplicas", f"is less than minReplicas ({least:g})", "Correct one of them.")


def _check_restart_policies(path: str, cluster: Object) -> Iterator[RuleProblem]:
    groups = [("headGroupSpec", cluster.get("headGroupSpec") or {})]
    groups += [
        (f"workerGroupSpecs.{number}", item) for number, item in enumerate(cluster.get("workerGroupSpecs") or [])
    ]
    for name, group in groups:
        policy = ((group.get("template") or {}).get("spec") or {}).get("restartPolicy")
        if policy not in (None, "", "Never"):
            where = f"{path}.{name}.template.spec.restartPolicy"
            yield RuleProblem(where, f"{policy} cannot be used with autoscaler v2", "Use Never, or leave it out.")


def _env(head: Object) -> dict[str, str]:
    containers = ((head.get("template") or {}).get("spec") or {}).get("containers") or [{}]
    return {str(item.get("name")): str(item.get("value") or "") for item in containers[0].get("env") or []}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
