# requirements: flexcore_base
"""One section of a pipeline's form as the work of an operation: checked as the operation's own step would check it.

section ─parse─→ Work ─┬─ check, in parse    what needs no service
                       └─ plan, by plan_all  what its service says; changes nothing
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from f.flexcore.lib.core import contracts, errors, operation, resources

# Fields of a section that are not the operation's: which one is meant, and whether the form shows all fields.
OPERATION, MORE = "operation", "more"
# Inputs that an earlier stage hands on.
SOURCE = "source"


@dataclass(frozen=True, slots=True)
class Work:
    """section: its name in the form. service: None when it is not known. is_choice: whether the section chooses
    among operations."""

    section: str
    runtime: operation.Runtime
    operation: operation.Operation[Any, Any]
    request: resources.Form
    service: resources.Resource | None
    is_choice: bool = False

    def public(self) -> dict[str, Any]:
        """The request for later steps, without what may be secret."""
        return self._with_operation(resources.dump_public(self.request))

    def plain(self) -> dict[str, Any]:
        """The whole request, for what stays in this step."""
        return self._with_operation(self.request.model_dump(mode="json"))

    def invocation(self, settings: resources.Settings, env: Mapping[str, str] = os.environ) -> Any:
        key, call = operation.read_key_and_call(env, None)
        return operation.Invocation(self.runtime.name, self.request, self.service, settings, key, call)

    def plan(self, settings: resources.Settings) -> contracts.StepResult:
        """Raises FlexcoreError, its field named below the section."""
        try:
            return self.operation.plan(self.invocation(settings))
        except errors.FlexcoreError as error:
            raise errors.qualify(error, self.section) from None

    def _with_operation(self, request: dict[str, Any]) -> dict[str, Any]:
        return {OPERATION: self.operation.name, **request} if self.is_choice else request


def parse(
    section: str,
    runtime: operation.Runtime,
    operations: Sequence[str],
    value: Any,
    settings: resources.Settings,
    read_service: Callable[[], resources.Resource | None] | None = None,
) -> Work:
    """The work that a section describes. operations: those that it may choose from, the first one by default; a field
    of another one is ignored. read_service: for a resource that another section names; None when it is wrong there.

    Raises an error that tells of every wrong field, named below the section."""
    fields = {name: item for name, item in errors.check_value(dict[str, Any], value, section).items() if name != MORE}
    chosen = _choose(section, runtime, operations, fields)
    fields = ignore_foreign(fields, chosen, [partial(runtime.operation, name) for name in operations])
    request, place = collect(
        [
            lambda: chosen.parse(fields, section),
            read_service or partial(_parse_service, section, runtime, chosen, fields),
        ]
    )
    try:
        chosen.check(request, place, settings)
    except errors.FlexcoreError as error:
        raise errors.qualify(error, section) from None
    return Work(section, runtime, chosen, request, place, len(operations) > 1)


def collect(parts: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each part returns. Raises one error that tells of all that they raise."""
    results, problems = [], []
    for part in parts:
        try:
            results.append(part())
        except errors.FlexcoreError as error:
            problems.append(error)
    if problems:
        raise errors.merge(problems)
    return results


def _choose(
    section: str, runtime: operation.Runtime, operations: Sequence[str], fields: dict[str, Any]
) -> operation.Operation[Any, Any]:
    name = (fields.pop(OPERATION, None) if len(operations) > 1 else None) or operations[0]
    if name not in operations:
        raise errors.InvalidInput(
            f"{section}.{OPERATION}: {name!r} does not exist",
            subject=f"{section}.{OPERATION}",
            remedy=f"Use one of {', '.join(operations)}.",
        )
    return runtime.operation(name)


def ignore_foreign(
    fields: Mapping[str, Any],
    chosen: operation.Operation[Any, Any],
    others: Iterable[Callable[[], operation.Operation[Any, Any]]],
) -> dict[str, Any]:
    """The fields without those that only another operation has. others: are read only when there is such a field."""
    own = {*chosen.request.model_fields, chosen.service_field}
    foreign: set[str] = set()
    if fields.keys() - own:
        foreign = {name for other in others for name in other().request.model_fields} - own
    return {name: value for name, value in fields.items() if name not in foreign}


def _parse_service(
    section: str, runtime: operation.Runtime, chosen: operation.Operation[Any, Any], fields: Mapping[str, Any]
) -> resources.Resource:
    field = f"{section}.{chosen.service_field}"
    if runtime.needs_service and fields.get(chosen.service_field) is None:
        raise errors.InvalidInput(
            f"{field} is missing", subject=field, remedy=f"Choose a {runtime.resource_type} resource."
        )
    service: resources.Resource = chosen.parse_service(fields, section)
    return service
