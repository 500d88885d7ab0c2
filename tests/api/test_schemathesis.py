"""Every route under requests that schemathesis makes of the document, right ones and wrong ones, always the same."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

from tests.api.conftest import ROOT, Client

# Each request is a process. They are to find what the authored cases do not think of, not all that there is.
EXAMPLES = 4
CONFIG = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": False}}})
SCHEMA = schemathesis.openapi.from_path(ROOT / "resources/openapi.yaml", config=CONFIG)


@pytest.fixture(autouse=True)
def undisturbed_parser() -> Iterator[None]:
    """CPython 3.11 counts the depth of a syntax tree for all threads together: a garbage collection while hypothesis
    parses a strategy's source lets a thread of the engine parse, too, and one of them fails with a SystemError."""
    gc.disable()
    yield
    gc.enable()


@SCHEMA.parametrize()
@hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None)
def test_every_route_keeps_to_the_document(case: schemathesis.Case, client: Client) -> None:
    # Windmill's router answers 404, not 405, to a method that a path does not have.
    excluded = [unsupported_method]
    if case.operation.definition.raw["operationId"] == "start_execution":
        # What its arguments must be is said by each workflow's own schema.
        excluded.append(positive_data_acceptance)
    base, headers = client.base.removesuffix("/flexcore"), {"Authorization": client.http.headers["authorization"]}
    case.call_and_validate(base_url=base, headers=headers, excluded_checks=excluded, timeout=60)
