# requirements: flexcore_kubernetes
"""What was changed of a manifest, said in the log at the start, and in the result or the error at the end."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import job_manifest, jobs, manifest_reader


def run_with_notes(runner: jobs.JobRunner, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """`run`'s result with data.notes, or its error with the detail notes; neither where nothing was changed."""
    written = job_manifest.build(runner.request, runner.key.name(1), runner.namespace).notes
    notes = [runner.kubernetes.redactor.text(note) for note in written]
    for note in notes:
        runner.say(f"Note: {note}")
    try:
        result = run()
    except errors.FlexcoreError as error:
        if notes:
            error.details["notes"] = [*notes, *error.details.get("notes", [])]
        raise
    if notes:
        result["data"] = {**result["data"], "notes": [*notes, *result["data"].get("notes", [])]}
    return result


def secret_values(request: job_manifest.JobRequest) -> Iterator[str]:
    """The values of `secrets` and of the Secrets in the manifest, which must never be seen."""
    yield from (value.get_secret_value() for value in request.secrets.values())
    for item in manifest_reader.read_manifest(request.manifest)[1] if request.manifest else ():
        if item["kind"] == "Secret":
            yield from (str(value) for value in (item.get("stringData") or {}).values())
            for value in (item.get("data") or {}).values():
                yield from _decoded(str(value))


def _decoded(value: str) -> Iterator[str]:
    yield value
    try:
        yield base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        return
