# requirements: flexcore_kubernetes
"""The Job of a manifest: read, checked and made ours, with a note on every change. Pure.

manifest_reader ─→ manifest_schema, manifest_rules ─→ manifest_changes
Only steps that are given a manifest load these.
"""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Iterator
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import manifest_changes, manifest_reader, manifest_rules, manifest_schema
from f.flexcore.lib.kubernetes_api import job_status

Object = dict[str, Any]
# The Job, the objects beside it, and what was changed of them.
Parts = tuple[Object, list[Object], list[str]]


def find_namespace(manifest: Any) -> str:
    """The Job's own, or "". Raises InvalidInput when the manifest is none."""
    metadata = manifest_reader.read_manifest(manifest)[0].get("metadata")
    return str(metadata.get("namespace") or "") if isinstance(metadata, dict) else ""


def find_deadline_s(manifest: Any) -> int | None:
    """The Job's activeDeadlineSeconds; None where it has none, or the manifest is none, which `check` refuses."""
    try:
        spec = manifest_reader.read_manifest(manifest)[0].get("spec")
    except errors.InvalidInput:
        return None
    seconds = spec.get("activeDeadlineSeconds") if isinstance(spec, dict) else None
    return seconds if isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0 else None


def secret_values(manifest: Any) -> Iterator[str]:
    """The values in the manifest's Secrets."""
    for item in manifest_reader.read_manifest(manifest)[1]:
        if item["kind"] == "Secret":
            yield from (str(value) for value in (item.get("stringData") or {}).values())
            for value in (item.get("data") or {}).values():
                yield from _decode(str(value))


def _decode(value: str) -> Iterator[str]:
    yield value
    try:
        yield base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return


def check(manifest: Any) -> None:
    """Raises InvalidInput for what the API server would refuse, or what could never start."""
    job, companions, _ = _read(manifest)
    manifest_schema.check_shape(job)
    manifest_rules.check_job(job)
    for item in companions:
        place = f"manifest ({manifest_reader.describe_object(item)})"
        manifest_schema.check_shape(item, place)
        if item["kind"] == "Secret":
            manifest_rules.check_secret(item, place)


def build(manifest: Any, name: str, namespace: str, time_limit_s: int, ttl_s: int) -> Parts:
    """The Job under its name; the objects beside it are named after it."""
    job, companions, notes = _read(manifest)
    spec = job["spec"]
    notes += manifest_rules.check_job(job)
    notes += manifest_changes.note_index_use(spec)
    notes += manifest_changes.rename_job(job, name)
    names = {}
    for item in companions:
        notes.append(_adopt(item, name, namespace))
        names[item["kind"], item["metadata"].pop("written")] = item["metadata"]["name"]
    manifest_changes.rename_references(spec["template"]["spec"], names)
    notes += manifest_changes.keep_bounds(spec, time_limit_s, ttl_s, job_status.find_queue_name(job))
    notes += _note_overridden_labels(job)
    return job, companions, notes


def _read(manifest: Any) -> Parts:
    """A copy without what a cluster wrote."""
    job, companions = copy.deepcopy(manifest_reader.read_manifest(manifest))
    notes = []
    for item in (job, *companions):
        if item.get("metadata") is None:
            item["metadata"] = {}
        if isinstance(item["metadata"], dict):
            changes = manifest_changes.drop_server_fields(item)
            notes += [note if item is job else f"{manifest_reader.describe_object(item)}: {note}" for note in changes]
    return job, companions, notes


def _adopt(item: Object, job: str, namespace: str) -> str:
    """Names an object after its Job, since two runs at a time must not share it."""
    metadata, kind = item["metadata"], item["kind"]
    elsewhere = metadata.get("namespace")
    if elsewhere and elsewhere != namespace:
        raise errors.InvalidInput(
            f"manifest: {kind} {metadata['name']} is in namespace {elsewhere}, and the Job runs in {namespace}",
            subject="manifest",
            remedy="Use one namespace for both.",
        )
    metadata["written"] = metadata["name"]
    metadata["name"] = f"{job}-{metadata['written']}"
    return f"{kind} {metadata['written']} is created as {metadata['name']} and goes with the Job"


def _note_overridden_labels(job: Object) -> list[str]:
    label = "app.kubernetes.io/managed-by"
    template = job["spec"]["template"].get("metadata") or {}
    written = {str((item.get("labels") or {}).get(label) or "flexcore") for item in (job["metadata"], template)}
    return [f"label {label}: {value} becomes flexcore" for value in sorted(written - {"flexcore"})]
