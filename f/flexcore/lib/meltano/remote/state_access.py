# requirements: flexcore_base
"""Reads and writes states where only Meltano itself can: the program that runs inside Meltano's environment, of which
backend_states.py is the client.

One request on stdin, one answer on stdout, both JSON; the variables of the process say where the state is.
  {root, environment, read: [ID]}                  {ID: {completed, partial}, or null where there is none}
  {root, environment, write_back: {ID: [OLD, NEW]}}  {}; what is no longer OLD is left alone
{error: TEXT} when the place cannot be used.
Source: meltano.core state_service, state_store, migration_service, 4.4.1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

State = dict[str, Any]


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # Meltano logs to stdout.
    os.dup2(2, 1)
    try:
        answer = respond(json.load(sys.stdin))
    except Exception as error:
        answer = {"error": (str(error).strip().splitlines() or [type(error).__name__])[0]}
    answers.write(json.dumps(answer))
    answers.flush()


def respond(request: dict[str, Any]) -> dict[str, Any]:
    with open_manager(request["root"], request["environment"]) as manager:
        for key, (old, new) in request.get("write_back", {}).items():
            with manager.acquire_lock(key, retry_seconds=1):
                if read(manager, key) == old:
                    write(manager, key, new)
        return {key: read(manager, key) for key in request.get("read", ())}


@contextmanager
def open_manager(root: str, environment: str) -> Iterator[Any]:
    """Meltano's manager of the project's states. Its tables are made if need be, as before any run."""
    from meltano.core.db import project_engine
    from meltano.core.migration_service import MigrationService
    from meltano.core.project import Project
    from meltano.core.state_service import StateService

    project = Project(root, readonly=True)
    project.activate_environment(environment)
    engine, make_session = project_engine(project)
    MigrationService(engine).upgrade(silent=True)
    with make_session() as session, StateService(project, session) as service:
        yield service.state_store_manager


def read(manager: Any, key: str) -> State | None:
    state = manager.get(key)
    return {"completed": state.completed_state or {}, "partial": state.partial_state or {}} if state else None


def write(manager: Any, key: str, state: State) -> None:
    from meltano.core.state_store import MeltanoState

    # `set` merges a state that is not complete with the one that is there.
    manager.set_all([MeltanoState(key, partial_state=state["partial"], completed_state=state["completed"])])
