# requirements: flexcore_pipeline
"""The data pipeline's whole form, checked before any service is called: all its problems are one error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, forms, resources
from f.flexcore.lib.pipeline import work
from f.flexcore.lib.selection import analysis

# What only the form itself, or another step, looks at.
OTHERS = ("shown", "more", "notify")


@dataclass(frozen=True, slots=True)
class Request:
    """form: all but the candidates; seconds_left: until the deadline; candidates: by their runtime, in its order."""

    form: forms.DataPipelineForm
    seconds_left: float | None
    candidates: dict[str, work.Work]


def parse_request(given: Mapping[str, Any]) -> Request:
    """Raises an error that tells of every wrong field, for a form that describes no runtime, and for a pin that is none
    of those."""
    given = errors.check_value(dict[str, Any], given, "request")
    sections = {name: given.get(name) for name in runtimes.RUNTIMES if given.get(name)}
    others = {name: value for name, value in given.items() if name not in (*runtimes.RUNTIMES, *OTHERS)}
    settings = partial(errors.validate, resources.Settings, given.get("settings") or {}, "settings")
    form, left, candidates = work.collect(
        [
            lambda: errors.validate(forms.DataPipelineForm, others, ""),
            lambda: _compute_seconds_left(given),
            lambda: validate_candidates(sections, settings(), _manifest(given.get("data"))),
        ]
    )
    _check_pin(form.pin, candidates)
    return Request(form, left, candidates)


def validate_candidates(
    sections: Mapping[str, Any], settings: resources.Settings, manifest: Any = None
) -> dict[str, work.Work]:
    """Each section as the work of its runtime. manifest: of data that an earlier stage has handed on, for work that
    reads one and does not name it.

    Raises an error that tells of every wrong field of all sections."""
    if not sections:
        raise errors.InvalidInput(
            f"{', '.join(runtimes.RUNTIMES)}: all are empty",
            subject=next(iter(runtimes.RUNTIMES)),
            remedy="Fill in at least one: how that runtime would do the work.",
        )
    parts: list[Callable[[], work.Work]] = [
        partial(_validate_candidate, name, section, settings, manifest) for name, section in sections.items()
    ]
    return dict(zip(sections, work.collect(parts), strict=True))


def _validate_candidate(name: str, section: Any, settings: resources.Settings, manifest: Any) -> work.Work:
    runtime = runtimes.get_runtime(name)
    operations = runtime.pipeline_operations
    if manifest and isinstance(section, Mapping) and not section.get(work.SOURCE):
        readers = (each for each in operations if work.SOURCE in runtime.operation(each).request.model_fields)
        section = {**section, work.SOURCE: manifest} if any(readers) else section
    return work.parse(name, runtime, operations, section, settings)


def _manifest(data: Any) -> Any:
    return data.get("manifest") if isinstance(data, Mapping) else None


def _compute_seconds_left(given: Mapping[str, Any]) -> float | None:
    return analysis.compute_seconds_left(given.get("deadline_s"), given.get("deadline") or "", datetime.now(UTC))


def _check_pin(pin: str, candidates: Mapping[str, work.Work]) -> None:
    if pin and pin not in candidates:
        missing = "is empty" if pin in runtimes.RUNTIMES else "is not a runtime"
        raise errors.InvalidInput(
            f"pin: {pin!r} {missing}", subject="pin", remedy=f"Fill it in, or pin one of {', '.join(candidates)}."
        )
