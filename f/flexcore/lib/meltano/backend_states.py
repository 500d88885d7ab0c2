# requirements: flexcore_base
"""States at a place that only Meltano itself can read and write: a system database in PostgreSQL, a backend in Azure or
Google Cloud. remote/state_access.py does it in Meltano's own environment (about 2 s each time).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors, tls_errors
from f.flexcore.lib.meltano import installation, preparation, run_command, state_store

# Meltano tries to connect to its database four times, with 5 s between.
TIMEOUT_S = 120
MODULES = ("state_access",)
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from f.flexcore.lib.meltano.remote import state_access; "
    "state_access.serve()"
)


def read_states(prepared: preparation.Prepared) -> dict[str, state_store.State | None]:
    """The states by id. Raises Unreachable."""
    return _ask(prepared, {"read": prepared.state_ids})


def write_back(prepared: preparation.Prepared, changes: state_store.Changes) -> None:
    """Brings the state of a finished run to its place. Safe to repeat: what has moved on since is left alone."""
    moved = {key: [old, new] for key, (old, new) in (changes or {}).items() if new and new != old}
    if moved:
        _ask(prepared, {"write_back": moved})


def _ask(prepared: preparation.Prepared, question: Mapping[str, Any]) -> dict[str, Any]:
    folder = installation.install_modules(MODULES)
    request = {"root": str(prepared.source.root), "environment": prepared.project.environment, **question}
    try:
        done = subprocess.run(
            [str(installation.meltano_python()), "-P", "-c", START, str(folder)],
            env=run_command.project_environment(prepared, prepared.place, installation.inspection_folder()),
            cwd=prepared.source.root,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _unreachable(prepared, f"Meltano did not answer within {TIMEOUT_S} s") from None
    if not done.stdout:
        raise _unreachable(prepared, (done.stderr.strip().splitlines() or ["Meltano said nothing"])[-1])
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise _unreachable(prepared, answer["error"])
    return answer


def _unreachable(prepared: preparation.Prepared, reason: str) -> errors.Unreachable:
    reason = prepared.redactor.text(reason)[:300]
    return errors.Unreachable(
        f"The state at {prepared.place.label} cannot be used: {reason}",
        subject="state_backend",
        remedy=tls_errors.tls_remedy(reason)
        or "Check address, keys and rights of the project's own state backend or database.",
    )
