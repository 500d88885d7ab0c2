# requirements: flexcore_kubernetes
"""The Job's spec that job_options asks for: counts, policies, containers beside, queue, place. Pure."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import job_options, pod_spec
from f.flexcore.lib.kubernetes_api import kueue_status

Object = dict[str, Any]
SHARED_VOLUME, SHARED_FOLDER = "flexcore-shared", "/flexcore/shared"


def apply(options: job_options.JobOptions, job: Object, user: int | None, name: str) -> None:
    """Changes the Job of one container accordingly. user: of its program; name: the Job's."""
    spec, metadata = job["spec"], job["metadata"]
    pod = spec["template"]["spec"]
    spec |= _make_counts(options)
    if policy := _make_failure_policy(options):
        spec["podFailurePolicy"] = policy
    if rule := _make_success_rule(options):
        spec["successPolicy"] = {"rules": [rule]}
    if options.queue:
        # Where no webhook of Kueue does it, a pod would start before its turn.
        spec["suspend"] = True
        labels = {kueue_status.QUEUE_LABEL: options.queue, kueue_status.PRIORITY_LABEL: options.queue_priority}
        metadata["labels"] = {key: value for key, value in labels.items() if value}
    _add_containers(options, pod, user)
    _name_gpus(options, pod["containers"][0])
    _place(options, pod, name)


def _make_counts(options: job_options.JobOptions) -> Object:
    wanted: Object = {
        "parallelism": options.parallelism,
        "completions": options.completions,
        "completionMode": "Indexed" if options.indexed else None,
        "backoffLimitPerIndex": options.backoff_limit_per_index,
        "maxFailedIndexes": options.max_failed_indexes,
    }
    # With limits of each index the limit of all is Kubernetes' own, which is none.
    if options.backoff_limit_per_index is None or options.backoff_limit:
        wanted["backoffLimit"] = options.backoff_limit
    return {name: value for name, value in wanted.items() if value is not None}


def _make_failure_policy(options: job_options.JobOptions) -> Object | None:
    """The first rule that matches counts: a disruption before the exit code that it leads to."""
    rules: list[Object] = []
    if options.ignore_disruptions:
        rules.append({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]})
    for action, codes in (
        ("FailJob", options.fail_on_exit_codes),
        ("FailIndex", options.fail_index_on_exit_codes),
    ):
        if codes:
            values = sorted(set(codes))
            rules.append(
                {
                    "action": action,
                    "onExitCodes": {"containerName": job_options.MAIN, "operator": "In", "values": values},
                }
            )
    return {"rules": rules} if rules else None


def _make_success_rule(options: job_options.JobOptions) -> Object:
    rule: Object = {}
    if options.success_indexes:
        rule["succeededIndexes"] = options.success_indexes.replace(" ", "")
    if options.success_count:
        rule["succeededCount"] = options.success_count
    return rule


def _add_containers(options: job_options.JobOptions, pod: Object, user: int | None) -> None:
    program = pod["containers"][0]
    if not options.init_containers and not options.sidecars:
        return
    mount = {"name": SHARED_VOLUME, "mountPath": SHARED_FOLDER}
    made = [
        {**_make_container(item, f"options.{field}.{index}", program["image"], user), **policy, "volumeMounts": [mount]}
        for field, policy, items in (
            ("sidecars", {"restartPolicy": "Always"}, options.sidecars),
            ("init_containers", {}, options.init_containers),
        )
        for index, item in enumerate(items)
    ]
    pod["initContainers"] = made
    pod["volumes"] = [*(pod.get("volumes") or ()), {"name": SHARED_VOLUME, "emptyDir": {}}]
    program["volumeMounts"] = [*(program.get("volumeMounts") or ()), mount]


def _make_container(item: job_options.Container, field: str, image: str, user: int | None) -> Object:
    try:
        container: Object = {
            "name": item.name,
            "image": item.image or image,
            "command": item.command,
            "args": item.args,
            "env": pod_spec.make_environment(item.env),
            "resources": pod_spec.make_bounded_resources(item.cpu, item.memory),
            "securityContext": pod_spec.make_security_context(user),
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
    except errors.InvalidInput as error:
        raise errors.qualify(error, field) from None
    return {name: value for name, value in container.items() if value not in ([], {})}


def _name_gpus(options: job_options.JobOptions, container: Object) -> None:
    for amounts in (container.get("resources") or {}).values():
        if job_options.GPU in amounts and options.gpu_resource != job_options.GPU:
            amounts[options.gpu_resource] = amounts.pop(job_options.GPU)


def _place(options: job_options.JobOptions, pod: Object, name: str) -> None:
    selector = {"matchLabels": {"batch.kubernetes.io/job-name": name}}
    unsatisfiable = "DoNotSchedule" if options.spread_strictly else "ScheduleAnyway"
    wanted: Object = {
        "priorityClassName": options.priority_class,
        "nodeSelector": job_options.make_node_selector(options),
        "tolerations": job_options.list_tolerations(options),
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": unsatisfiable, "labelSelector": selector}
            for key in options.spread_over
        ],
    }
    pod |= {field: value for field, value in wanted.items() if value}
