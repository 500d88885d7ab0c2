# requirements: flexcore_base
# py: ==3.11.*
"""The runtimes that a data pipeline describes, each with its checked form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from f.flexcore.core.data_requests import FORMS
from f.flexcore.core.errors import InvalidInput, validated
from f.flexcore.meltano.preparation import Prepared, prepare

# A form's field that names the service; it holds secrets and is in no result.
SERVICE = {"meltano": "project", "ray": "cluster", "kubernetes": "cluster"}
# What may hold anything, secrets too, goes from the form to the runtime and into no result.
OPAQUE = ("parameters", "secrets", "runtime_env", "program", "manifest", "env")
Work = dict[str, dict[str, Any]]


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
        work[runtime] = validated(FORMS[runtime], plain, runtime).model_dump(mode="json")
    if not work:
        raise InvalidInput(
            "No runtime is described",
            subject="meltano",
            remedy="Say in at least one of meltano, ray and kubernetes how it would do the work.",
        )
    if pin and pin not in work:
        known = ", ".join(work)
        remedy = f"Described are: {known}." if pin in FORMS else f"It is no runtime; described are {known}."
        raise InvalidInput(f"pin: {pin!r} is not described", subject="pin", remedy=remedy)
    return work


def meltano_request(form: Any, work: Work, settings: Any) -> Prepared | None:
    """The Meltano form checked against its project, when it is among the described; raises the UserErrors of that."""
    asked = work.get("meltano")
    if asked is None:
        return None
    named = (asked["taps"], asked["target"], asked["environment"], asked["select"], asked["config"])
    return prepare(form["project"], *named, settings)


def plain_work(work: Work) -> dict[str, Any]:
    """Each runtime's form for the steps that follow, without what may hold secrets; None for those not described."""
    return {
        runtime: {name: value for name, value in work[runtime].items() if name not in OPAQUE}
        if runtime in work
        else None
        for runtime in FORMS
    }


def _no_service(runtime: str) -> InvalidInput:
    field = f"{runtime}.{SERVICE[runtime]}"
    kind = "c_meltano_project" if runtime == "meltano" else f"c_{runtime}_cluster"
    return InvalidInput(f"{field} is not given", subject=field, remedy=f"Choose a {kind} resource.")
