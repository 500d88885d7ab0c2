# requirements: flexcore_kubernetes
"""How a Job's program gets what earlier stages hand on, and hands on itself, without a sidecar. Pure but for the store.

in    a ConfigMap of the Job's own, one file for each input          FLEXCORE_INPUTS, FLEXCORE_INPUT_NAME (…_URI)
out   JSON in the termination message, 4 KiB at most                 FLEXCORE_OUTPUT
      longer: a manifest in the store, and {"manifest": its URI}     FLEXCORE_OUTPUT_URI, a folder of this attempt's own

The message of a pod that succeeded counts, and no other: what a failed one wrote may be half done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.kubernetes import job_manifest, pod_spec
from f.flexcore.lib.kubernetes_api import container_ends, job_status

Object = dict[str, Any]

VOLUME, FOLDER = "flexcore-inputs", "/flexcore/inputs"
TERMINATION_LOG = "/dev/termination-log"
# A ConfigMap takes 1 MiB; the rest is for its metadata.
MAX_INPUT_BYTES = 1_000_000
# The kubelet keeps this much of what a container wrote, less where several containers wrote.
MAX_MESSAGE_BYTES = 4096
NAME = re.compile(r"[a-zA-Z]([-\w]{0,61}[a-zA-Z0-9])?")


def check(request: job_manifest.JobRequest, settings: resources.Settings) -> None:
    """Raises InvalidInput for inputs that cannot be handed in, and an output that could not be told apart."""
    for name, value in request.inputs.items():
        if not NAME.fullmatch(name):
            raise _wrong(f"inputs.{name}", "is not a name", "Use letters, digits, dashes and _, a letter first.")
        if not isinstance(value, dict):
            raise _wrong(f"inputs.{name}", "is not an object", "Give a manifest, or another JSON object.")
    if len(json.dumps(request.inputs)) > MAX_INPUT_BYTES:
        remedy = 'Write the manifest into the store, and hand on {"uri": its address}.'
        raise _wrong("inputs", f"is larger than {MAX_INPUT_BYTES} bytes", remedy)
    if request.options and request.options.store_keys:
        _check_store(settings)
    if request.output != "none" and request.options:
        count, indexed = request.options.completed_pods, request.options.indexed
        if count > 1 and (request.output == "manifest" or not indexed):
            remedy = "Set output to json and indexed, or let one Job after it hand on the whole."
            raise _wrong("output", f"{count} pods would each hand on {request.output}", remedy)


def _check_store(settings: resources.Settings) -> None:
    if not settings.storage_uri.startswith("s3://"):
        problem = "options.store_keys asks for the keys of a store that pods reach, and the settings have none"
        remedy = "Use an s3:// storage_uri in the settings."
        raise errors.InvalidInput(problem, subject="settings.storage_uri", remedy=remedy)
    pod_spec.check_endpoint(settings.storage_endpoint_url)


# --- in


def add_to_job(job: Object, request: job_manifest.JobRequest, settings: resources.Settings, folder: str) -> None:
    """Mounts the inputs in every container, and says where the output goes. folder: of the attempt in the store."""
    name = job["metadata"]["name"]
    given = dict(_iterate_variables(request, settings, folder))
    pod = job["spec"]["template"]["spec"]
    for _, container in pod_spec.iterate_containers(job["spec"]):
        written = {item["name"] for item in container.get("env") or ()}
        added = [{"name": key, "value": value} for key, value in given.items() if key not in written]
        container["env"] = [*(container.get("env") or ()), *added]
        if request.inputs:
            mount = {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}
            container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
    if request.inputs:
        volume = {"name": VOLUME, "configMap": {"name": name_inputs(name)}}
        pod["volumes"] = [*(pod.get("volumes") or ()), volume]


def _iterate_variables(
    request: job_manifest.JobRequest, settings: resources.Settings, folder: str
) -> Iterator[tuple[str, str]]:
    if request.inputs:
        yield "FLEXCORE_INPUTS", FOLDER
    for name, value in request.inputs.items():
        variable = f"FLEXCORE_INPUT_{name.upper().replace('-', '_')}"
        yield variable, f"{FOLDER}/{name}.json"
        if isinstance(value, Mapping) and isinstance(value.get("uri"), str):
            yield f"{variable}_URI", value["uri"]
    if request.output != "none":
        yield "FLEXCORE_OUTPUT", TERMINATION_LOG
        if folder.startswith("s3://"):
            yield "FLEXCORE_OUTPUT_URI", folder
    if request.options and request.options.store_keys:
        if settings.storage_endpoint_url:
            yield "AWS_ENDPOINT_URL", settings.storage_endpoint_url
        if settings.storage_region:
            yield "AWS_REGION", settings.storage_region


def list_store_keys(request: job_manifest.JobRequest, settings: resources.Settings) -> dict[str, str]:
    """What the Job's Secret has of the store."""
    if not request.options or not request.options.store_keys:
        return {}
    keys = {
        "AWS_ACCESS_KEY_ID": settings.storage_access_key,
        "AWS_SECRET_ACCESS_KEY": settings.storage_secret_key,
    }
    return {name: value for name, value in keys.items() if value}


def name_inputs(job: str) -> str:
    return f"{job}-inputs"


def make_inputs(request: job_manifest.JobRequest, job: str) -> Object:
    """The ConfigMap, its owner left aside."""
    data = {f"{name}.json": json.dumps(value) for name, value in request.inputs.items()}
    return {"kind": "ConfigMap", "immutable": True, "metadata": {"name": name_inputs(job)}, "data": data}


# --- out


def find_folder(settings: resources.Settings, key: identity.ExecutionKey, attempt: int) -> str:
    """Where an attempt may write in the settings' store, "" when pods reach none."""
    root = settings.storage_uri.rstrip("/")
    return f"{root}/{key.value}/{attempt}" if root.startswith("s3://") else ""


def read_output(
    request: job_manifest.JobRequest, job: Object, pods: Sequence[Object], settings: resources.Settings
) -> tuple[contracts.Manifest | None, Any]:
    """(manifest, JSON) that the program has handed on, of an indexed Job by index; (None, None) when none is asked
    for. Raises DataError or ManifestMismatch for what is not what was asked for."""
    if request.output == "none":
        return None, None
    messages = _collect_messages(job, pods)
    if request.output == "json":
        indexed = (job.get("spec") or {}).get("completionMode") == "Indexed"
        if not indexed:
            return None, _parse_object(messages.get("", ""))
        return None, {
            index: _parse_object(text, f" of index {index}") for index, text in sorted(messages.items(), key=_by_index)
        }
    text = next(iter(messages.values()), "")
    value = _parse_object(text)
    if set(value) == {"manifest"} and isinstance(value["manifest"], str):
        value = _read_manifest(value["manifest"], settings)
    manifest = _validate_manifest(value)
    if not isinstance(manifest, contracts.EndpointManifest):
        contracts.check_consistent(manifest)
    return manifest, None


def _validate_manifest(value: Any) -> contracts.Manifest:
    try:
        manifest: contracts.Manifest = errors.check_value(contracts.Manifest, value, "output")
    except errors.InvalidInput as error:
        remedy = "Let the program hand on a data, model or endpoint manifest, or set output to json."
        problem = f"What the program has handed on is no manifest: {str(error).rstrip('. ')}"
        raise errors.ManifestMismatch(problem, subject="output", remedy=remedy) from None
    return manifest


def _by_index(item: tuple[str, str]) -> int:
    return int(item[0]) if item[0].isdigit() else -1


def _collect_messages(job: Object, pods: Sequence[Object]) -> dict[str, str]:
    """The message of the program in each pod that succeeded, by index ("" without one)."""
    messages: dict[str, str] = {}
    for pod in pods:
        if (pod.get("status") or {}).get("phase") != "Succeeded":
            continue
        ends = [item.end for item in container_ends.list_containers(pod, job) if item.role is container_ends.Role.MAIN]
        text = next((str(end["message"]) for end in ends if end and end.get("message")), "")
        messages[job_status.find_index(pod)] = text
    return messages


def _parse_object(text: str, whose: str = "") -> Object:
    remedy = "Let the program write a JSON object to the file that FLEXCORE_OUTPUT names, as the last thing it does."
    if not text.strip():
        raise errors.DataError(f"The program has handed on nothing{whose}", subject="output", remedy=remedy)
    try:
        value = json.loads(text)
    except ValueError:
        is_cut = len(text.encode()) >= MAX_MESSAGE_BYTES
        problem = f"is cut after {MAX_MESSAGE_BYTES} bytes" if is_cut else "is not JSON"
        if is_cut:
            remedy = 'Write the manifest below FLEXCORE_OUTPUT_URI in the store, and hand on {"manifest": its URI}.'
        raise errors.DataError(
            f"What the program has handed on{whose} {problem}", subject="output", remedy=remedy
        ) from None
    if not isinstance(value, dict):
        problem = f"What the program has handed on{whose} is no JSON object"
        raise errors.DataError(problem, subject="output", remedy=remedy)
    return value


def _read_manifest(uri: str, settings: resources.Settings) -> Any:
    from f.flexcore.lib.storage import object_store

    value = object_store.Store(settings).read_json(uri)
    if value is None:
        raise errors.DataError(
            f"The manifest {uri} that the program has handed on does not exist",
            subject="output",
            remedy="Let the program write it before it hands on its URI.",
        )
    return value


def _wrong(subject: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)
