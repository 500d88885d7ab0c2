# requirements: flexcore_kubernetes
"""Asks a deployed model one question through the API server, which reaches it from wherever this worker is.

None in place of a measurement means that the way there is closed (no right, no route), not that the model is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from f.flexcore.lib.core import contracts, errors, inference
from f.flexcore.lib.kubernetes import api_errors, categories, client

# After a rollout the proxy's view of the service's pods lags by a moment.
PATIENCE_S = 15.0
PAUSE_S = 0.5


@dataclass(slots=True)
class Smoke:
    """ready and predicted: True, or None when not measured (note says why). latency_ms is the way through the API
    server, so it tells more than the model's own time."""

    ready: bool | None = None
    predicted: bool | None = None
    rows: int | None = None
    predictions: list[Any] | None = None
    latency_ms: float | None = None
    note: str = ""


class Closed(Exception):
    """The way through the API server cannot be taken; the text says why."""


def smoke(
    kubernetes: client.Kubernetes,
    namespace: str,
    service: str,
    model: contracts.ModelManifest,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Smoke:
    """Raises ExecutionFailed (category smoke_failed) when the model itself answers wrongly."""
    base = f"/api/v1/namespaces/{namespace}/services/{service}:http/proxy/v2/models/{model.name}"
    found = Smoke()
    until = clock() + PATIENCE_S
    try:
        _answer(kubernetes, "GET", f"{base}/ready", None, namespace, service, until, clock, sleep)
        found.ready = True
        if not model.example:
            found.note = "The manifest holds no example to predict"
            return found
        body = inference.infer_request(model.example, model.signature)
        begun = clock()
        answer = _answer(kubernetes, "POST", f"{base}/infer", body, namespace, service, until, clock, sleep)
        found.latency_ms = round((clock() - begun) * 1000, 1)
    except Closed as closed:
        found.note = str(closed)
        return found
    try:
        found.predictions = inference.predictions(answer, len(model.example))
    except errors.FlexcoreError as error:
        raise failed(service, str(error)) from None
    found.rows, found.predicted = len(model.example), True
    return found


def failed(service: str, said: str) -> errors.FlexcoreError:
    return categories.error_of(categories.diagnosed("smoke_failed", said), f"Model {service} does not predict", service)


def _answer(
    kubernetes: client.Kubernetes,
    method: str,
    path: str,
    body: Any,
    namespace: str,
    service: str,
    until: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Any:
    call = api_errors.Call("create" if body else "get", "services/proxy", namespace, service)
    while True:
        try:
            code, payload = kubernetes.raw(method, path, body, call)
        except errors.TransientError as error:
            raise Closed(f"Not measured: {error}") from None
        if code < 300:
            return payload
        own = api_errors.trusted(payload)
        if own and code in (401, 403):
            raise Closed(f"Not measured: no right to {call}")
        if own and clock() >= until:
            raise Closed(f"Not measured: the API server does not reach the service ({own.get('message')})")
        if not own and (code < 500 or clock() >= until):
            said = payload.get("error") if isinstance(payload, dict) else None
            raise failed(service, f"HTTP {code}{f': {said}' if said else ''}")
        sleep(PAUSE_S)
