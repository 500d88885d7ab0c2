# requirements: flexcore_kubernetes
"""What a short-form Job may have besides one container: indexes, retries, policies, sidecars, queue, place. Pure.

JobOptions ─check─→ every problem that needs no cluster      ─job_options_spec.apply─→ the Job's spec

Retries are the flow's unless they are asked for here. A second pod is made only after the first has ended
(podReplacementPolicy Failed), so that two pods of one key never write at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, NoReturn

from pydantic import Field

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.kubernetes import pod_spec

Object = dict[str, Any]

MAIN = "main"
GPU = "nvidia.com/gpu"
# Beyond it the API server asks for parallelism of 10,000 at most beside backoffLimitPerIndex.
MAX_INDEXES = 100_000
LABEL_KEY = re.compile(r"(?:[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?)?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
# KEY=VALUE:EFFECT, KEY:EFFECT, KEY
TOLERATION = re.compile(r"(?P<key>[^=:\s]+)(?:=(?P<value>[^:\s]*))?(?::(?P<effect>\w+))?")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
INDEX_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


class Container(resources.Form):
    """A container beside the program, or before it."""

    name: str = Field(description="Name of the container.")
    image: str = Field(default="", description="Image; empty means the program's own.")
    command: list[str] = Field(default=[], description="Command, one word a line; empty means the image's own.")
    args: list[str] = Field(default=[], description="Arguments of the command, one a line.")
    env: Annotated[list[str], resources.OPAQUE] = Field(
        default=[], description="Environment as NAME=VALUE; not for secrets."
    )
    cpu: str = Field(default="", description="CPU, e.g. 100m.")
    memory: str = Field(default="", description="Memory, e.g. 128Mi.")


class JobOptions(resources.Form):
    """Of a Job of the short form, beyond one container that is tried once."""

    parallelism: int | None = Field(default=None, ge=1, description="How many pods run at once; empty means one.")
    completions: int | None = Field(
        default=None, ge=1, le=MAX_INDEXES, description="How many pods must succeed; empty means one."
    )
    indexed: bool = Field(
        default=False, description="Whether each pod has an index of its own (JOB_COMPLETION_INDEX), from 0."
    )
    backoff_limit: int = Field(
        default=0, ge=0, description="How many failed pods Kubernetes itself replaces; 0 leaves repeats to the flow."
    )
    backoff_limit_per_index: int | None = Field(
        default=None, ge=0, description="How often an index is tried again; the others go on when one has failed."
    )
    max_failed_indexes: int | None = Field(
        default=None, ge=0, description="How many indexes may fail before the rest is stopped; empty means all."
    )
    success_indexes: str = Field(
        default="", description="Indexes whose success is enough, e.g. 0 or 0,2-4; the others are then stopped."
    )
    success_count: int | None = Field(
        default=None, ge=1, description="How many (of success_indexes, else of all) must succeed for that."
    )
    fail_on_exit_codes: list[int] = Field(
        default=[], description="Exit codes of the program after which nothing is tried again."
    )
    fail_index_on_exit_codes: list[int] = Field(
        default=[], description="Exit codes of the program after which its index is not tried again."
    )
    ignore_disruptions: bool = Field(
        default=False, description="Whether a pod that its node or a preemption has ended counts against no limit."
    )
    init_containers: list[Container] = Field(
        default=[], description="Containers that end before the program begins, one after the other."
    )
    sidecars: list[Container] = Field(
        default=[],
        description="Containers beside the program, started before it (and before init containers) and stopped after "
        "it; its exit code counts, not theirs. They share /flexcore/shared with it.",
    )
    queue: str = Field(default="", description="LocalQueue of Kueue in the namespace, which starts the Job.")
    queue_priority: str = Field(default="", description="WorkloadPriorityClass of Kueue; orders the queue alone.")
    priority_class: str = Field(default="", description="PriorityClass of the pods.")
    gpu_resource: str = Field(default=GPU, description="Name of the GPUs that `gpus` counts, e.g. amd.com/gpu.")
    node_selector: list[str] = Field(default=[], description="Labels that a node must have, as NAME=VALUE.")
    tolerations: list[str] = Field(
        default=[], description="Taints of nodes that are tolerated, as KEY=VALUE:EFFECT, KEY:EFFECT or KEY."
    )
    spread_over: list[str] = Field(
        default=[],
        description="Labels of nodes over whose values the pods are spread, e.g. topology.kubernetes.io/zone.",
    )
    spread_strictly: bool = Field(
        default=False, description="Whether a pod waits rather than making the spread uneven."
    )
    writable_root: bool = Field(
        default=False,
        description="Whether the containers may write to their images' files; else to /tmp and to what they share.",
    )
    store_keys: bool = Field(
        default=False,
        description="Whether the program gets the keys of the settings' s3:// store (AWS_ACCESS_KEY_ID …), to read its "
        "inputs and to write its output there.",
    )

    def containers(self) -> Iterator[tuple[str, Container]]:
        """(field, container) of those beside the program."""
        for field in ("init_containers", "sidecars"):
            for index, container in enumerate(getattr(self, field)):
                yield f"options.{field}.{index}", container

    @property
    def completed_pods(self) -> int:
        """How many pods must succeed."""
        return self.completions or 1


# --- check


def check(options: JobOptions, gpus: int = 0) -> None:
    """Raises InvalidInput for what the API server would refuse, or what could never start."""
    _check_indexes(options)
    _check_success(options)
    _check_exit_codes(options)
    _check_containers(options)
    if options.queue_priority and not options.queue:
        _refuse("queue_priority", "orders a queue, and none is named", "Name the queue, or leave it empty.")
    for field in ("queue", "queue_priority", "priority_class"):
        value = getattr(options, field)
        if value and not SUBDOMAIN.fullmatch(value):
            _refuse(field, f"{value!r} is not a Kubernetes name", "Use lower-case letters, digits and dashes.")
    if options.gpu_resource != GPU and not gpus:
        _refuse("gpu_resource", "names GPUs, and gpus is 0", "Set gpus, or leave it empty.")
    if "/" not in options.gpu_resource or not LABEL_KEY.fullmatch(options.gpu_resource):
        _refuse("gpu_resource", f"{options.gpu_resource!r} is not a device", "Write it as VENDOR/NAME.")
    for name in options.spread_over:
        if not LABEL_KEY.fullmatch(name):
            _refuse("spread_over", f"{name!r} is not a label", "Use e.g. topology.kubernetes.io/zone.")
    make_node_selector(options)
    list_tolerations(options)


def _check_indexes(options: JobOptions) -> None:
    if options.indexed and options.completions is None:
        _refuse("completions", "is missing beside indexed", "Say how many indexes there are.")
    for field in (
        "backoff_limit_per_index",
        "max_failed_indexes",
        "success_indexes",
        "success_count",
        "fail_index_on_exit_codes",
    ):
        if getattr(options, field) not in (None, "", []) and not options.indexed:
            _refuse(field, "is for indexed Jobs alone", "Set indexed and completions.")
    if options.max_failed_indexes is not None and options.backoff_limit_per_index is None:
        _refuse("max_failed_indexes", "needs backoff_limit_per_index", "Set it, e.g. to 0.")
    if (options.max_failed_indexes or 0) > options.completed_pods:
        _refuse("max_failed_indexes", "is more than completions", f"Use at most {options.completed_pods}.")
    if options.fail_index_on_exit_codes and options.backoff_limit_per_index is None:
        _refuse("fail_index_on_exit_codes", "needs backoff_limit_per_index", "Set it, or use fail_on_exit_codes.")


def _check_success(options: JobOptions) -> None:
    count = options.completed_pods
    listed: set[int] = set()
    for part in filter(None, options.success_indexes.replace(" ", "").split(",")):
        match = INDEX_RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            _refuse("success_indexes", f"{part!r} is no index and no range", "Write it as 0,2-4.")
        if last >= count:
            _refuse("success_indexes", f"{last} is no index of {count} completions", f"Use 0 to {count - 1}.")
        if listed and first <= max(listed):
            _refuse("success_indexes", f"{part!r} does not follow the indexes before it", "Write them in order, once.")
        listed |= set(range(first, last + 1))
    if (options.success_count or 0) > (len(listed) or count):
        _refuse("success_count", f"is more than the {len(listed) or count} indexes that count", "Use fewer.")


def _check_exit_codes(options: JobOptions) -> None:
    for field in ("fail_on_exit_codes", "fail_index_on_exit_codes"):
        for code in getattr(options, field):
            if not 1 <= code <= 255:
                problem = "0 is not a failure" if code == 0 else f"{code} is no exit code"
                _refuse(field, problem, "Use 1 to 255.")
    both = set(options.fail_on_exit_codes) & set(options.fail_index_on_exit_codes)
    if both:
        _refuse(
            "fail_index_on_exit_codes", f"{min(both)} stands in fail_on_exit_codes, too", "Write it in one of them."
        )


def _check_containers(options: JobOptions) -> None:
    seen = {MAIN}
    for field, container in options.containers():
        where = field.removeprefix("options.")
        if not pod_spec.DNS_LABEL.fullmatch(container.name):
            problem = f"{container.name!r} is not a Kubernetes name"
            _refuse(f"{where}.name", problem, "Use lower-case letters, digits and dashes, at most 63.")
        if container.name in seen:
            what = "the program's own" if container.name == MAIN else "another container's"
            _refuse(f"{where}.name", f"{container.name!r} is {what} name", "Name each container once.")
        seen.add(container.name)
        if container.image:
            pod_spec.check_image(container.image, f"{field}.image")


def make_node_selector(options: JobOptions) -> dict[str, str]:
    """As the pod has it. Raises InvalidInput."""
    selector = {}
    for index, text in enumerate(options.node_selector):
        name, equals, value = text.strip().partition("=")
        if not equals or not LABEL_KEY.fullmatch(name) or not LABEL_VALUE.fullmatch(value):
            _refuse(f"node_selector.{index}", f"{text!r} is not of the form NAME=VALUE", "Write a label of a node so.")
        selector[name] = value
    return selector


def list_tolerations(options: JobOptions) -> list[Object]:
    """As the pod has them. Raises InvalidInput."""
    tolerations = []
    for index, text in enumerate(options.tolerations):
        match = TOLERATION.fullmatch(text.strip())
        if not match or not LABEL_KEY.fullmatch(match["key"]):
            _refuse(f"tolerations.{index}", f"{text!r} is not of the form KEY=VALUE:EFFECT", "Write it so.")
        if match["effect"] and match["effect"] not in EFFECTS:
            _refuse(f"tolerations.{index}", f"{match['effect']!r} is no effect", f"Use one of {', '.join(EFFECTS)}.")
        toleration = {"key": match["key"], "operator": "Exists" if match["value"] is None else "Equal"}
        toleration |= {"value": match["value"]} if match["value"] is not None else {}
        tolerations.append({**toleration, **({"effect": match["effect"]} if match["effect"] else {})})
    return tolerations


def _refuse(field: str, problem: str, remedy: str) -> NoReturn:
    raise errors.InvalidInput(f"options.{field}: {problem}", subject=f"options.{field}", remedy=remedy)
