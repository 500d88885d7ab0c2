# requirements: flexcore_base
"""The runtimes that a data pipeline describes, each with its checked form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib import runtimes
from f.flexcore.lib.core import errors, forms, resources
from f.flexcore.lib.meltano import (
    preparation,
)

# A form's field that names the service; it holds secrets and is in no result.
SERVICE = {"meltano": "project", "ray": "cluster", "kubernetes": "cluster"}
# What may hold anything, secrets too, goes from the form to the runtime and into no result.
OPAQUE = ("tap_settings", "target_settings", "parameters", "secrets", "runtime_env", "program", "manifest", "env")
Work = dict[str, dict[str, Any]]
DEFAULT_TYPE = "data_pipeline"
# A comma would be two labels to Windmill.
TYPE = re.compile(r"[A-Za-z0-9][\w ./-]{0,59}", re.ASCII)


def described(asked: Mapping[str, Any], pin: str | None = None) -> Work:
    """Runtime → its form with defaults, for those that are given. Raises InvalidInput for none at all, for a form that
    is wrong, and for a pin that is not among them."""
    work = {}
    for runtime, form in asked.items():
        if not form:
            continue
        plain = form
        if isinstance(form, dict):
            plain = {name: value for name, value in form.items() if name != SERVICE[runtime]}
            if runtime != "kubernetes" and not form.get(SERVICE[runtime]):
                raise _no_service(runtime)
        work[runtime] = errors.validated(forms.FORMS[runtime], plain, runtime).model_dump(mode="json")
    if not work:
        raise errors.InvalidInput(
            "No runtime is described",
            subject="meltano",
            remedy="Say in at least one of meltano, ray and kubernetes how it would do the work.",
        )
    if pin and pin not in work:
        known = ", ".join(work)
        remedy = f"Described are: {known}." if pin in forms.FORMS else f"It is no runtime; described are {known}."
        raise errors.InvalidInput(f"pin: {pin!r} is not described", subject="pin", remedy=remedy)
    return work


def data_source(data: Any) -> tuple[forms.DataSource, Any]:
    """The checked description of the data, and the database's resource, which is in no result."""
    if not isinstance(data, dict):
        return errors.validated(forms.DataSource, data or {}, "data"), None
    plain = {name: value for name, value in data.items() if name != "postgres"}
    return errors.validated(forms.DataSource, plain, "data"), data.get("postgres")


def named(workflow_type: str | None) -> str:
    """A name that can be a label. Raises InvalidInput."""
    if not TYPE.fullmatch(workflow_type or DEFAULT_TYPE):
        raise errors.InvalidInput(
            f"workflow_type: {workflow_type!r} is no name",
            subject="workflow_type",
            remedy="Use letters, digits, spaces and _ . / -, at most 60, a letter or digit first.",
        )
    return workflow_type or DEFAULT_TYPE


def meltano_request(form: Any, work: Work, settings: Any) -> preparation.Prepared | None:
    """The Meltano form checked against its project, when it is among the described; raises the UserErrors of that."""
    asked = work.get("meltano")
    if asked is None:
        return None
    run = runtimes.get_runtime("meltano").operation("run")
    request, project = run.parse(asked, "meltano"), run.parse_service(form, "meltano")
    return preparation.prepare(request, project, errors.validated(resources.Settings, settings or {}, "settings"))


def plain_work(work: Work) -> dict[str, Any]:
    """Each runtime's form for the steps that follow, without what may hold secrets; None for those not described."""
    return {
        runtime: {name: value for name, value in work[runtime].items() if name not in OPAQUE}
        if runtime in work
        else None
        for runtime in forms.FORMS
    }


def _no_service(runtime: str) -> errors.InvalidInput:
    field = f"{runtime}.{SERVICE[runtime]}"
    kind = "c_meltano_project" if runtime == "meltano" else f"c_{runtime}_cluster"
    return errors.InvalidInput(f"{field} is not given", subject=field, remedy=f"Choose a {kind} resource.")
