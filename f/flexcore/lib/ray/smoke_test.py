# requirements: flexcore_base
"""Asks a deployed model for its own example rows over HTTP, the way a caller would."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from f.flexcore.lib.core import contracts, errors, inference, loopback
from f.flexcore.lib.ray import dashboard

# Serve's proxies learn of a new route, and of a replaced replica, within a few seconds.
ROUTE_TIMEOUT_S = 30.0
RETRY_INTERVAL_S = 0.3
REQUEST_TIMEOUT_S = 10.0


DASHBOARD_BY_PROXY = ":dashboard/proxy"


def open_client(api: dashboard.RayApi) -> httpx.Client:
    """A client for the endpoint. The dashboard's credentials go along only to the dashboard's own host."""
    cluster, opened = api.cluster, api.opened
    if opened.on_kubernetes and not cluster.serve_url:
        verify = False if opened.verify is None else opened.verify
        return httpx.Client(headers=opened.headers, verify=verify, proxy=opened.proxy or None, trust_env=False)
    url = cluster.serve_url or cluster.address
    headers = {}
    if urlsplit(url).hostname == urlsplit(cluster.address).hostname:
        headers = dict(cluster.headers) | ({"Authorization": f"Bearer {cluster.token}"} if cluster.token else {})
    trust = dashboard.tls_verification(cluster.model_copy(update={"address": url}))
    return httpx.Client(headers=headers, verify=trust, trust_env=not loopback.is_loopback(url))


def caller_url(api: dashboard.RayApi, port: int, app: str) -> str:
    """Where this worker asks an application of a RayCluster: its Service within the cluster, else the API server's
    proxy; "" where the endpoint's own address is the one to ask."""
    if api.place.serve_url or not api.place.is_on_kubernetes:
        return ""
    if api.address.endswith(DASHBOARD_BY_PROXY):
        return f"{api.address.removesuffix(DASHBOARD_BY_PROXY)}:{port}/proxy/{app}"
    return f"http://{urlsplit(api.address).hostname}:{port}/{app}"


def run_smoke_test(
    url: str,
    model: contracts.ModelManifest,
    client: httpx.Client,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    is_alone: bool = True,
) -> dict[str, Any]:
    """{rows, predictions, latency_ms, model_version} of an answer by the version asked for.

    is_alone: whether all requests go to this version; beside others it is asked by its own path.
    Raises Unreachable when nothing answers there, ExecutionFailed when the model answers wrongly.
    """
    if not model.example:
        ready = f"{url}/v2/models/{model.name}/ready"
        _wait_for_answer(lambda: client.get(ready, timeout=REQUEST_TIMEOUT_S), url, clock, sleep)
        return {"rows": 0, "predictions": None, "latency_ms": None, "model_version": None}
    request = inference.build_smoke_request(model)
    version = "" if is_alone else f"/versions/{quote(model.version, safe='')}"
    infer = inference.infer_url(url, f"{model.name}{version}")
    until = clock() + ROUTE_TIMEOUT_S
    while True:
        began = clock()
        response = _wait_for_answer(
            lambda: client.post(infer, json=request, timeout=REQUEST_TIMEOUT_S),
            url,
            clock,
            sleep,
        )
        latency = (clock() - began) * 1000
        answer = _parse(response)
        answers = inference.parse_predictions(answer, len(model.example))
        if answer.get("model_version") in (None, "", model.version):
            return {
                "rows": len(answers),
                "predictions": answers,
                "latency_ms": round(latency, 1),
                "model_version": answer.get("model_version"),
            }
        if clock() > until:
            raise errors.ExecutionFailed(
                f"{url} still answers with version {answer['model_version']}",
                subject=url,
                remedy="Look at the application on the Ray dashboard, then deploy again.",
            )
        sleep(RETRY_INTERVAL_S)


def _wait_for_answer(
    ask: Callable[[], httpx.Response], url: str, clock: Callable[[], float], sleep: Callable[[float], None]
) -> httpx.Response:
    """The first answer that is not the proxy's own "not here yet"."""
    until, seen, certificates = clock() + ROUTE_TIMEOUT_S, "no answer", ""
    while True:
        try:
            response = ask()
            if response.status_code not in (404, 502, 503):
                return response
            seen = f"HTTP {response.status_code}"
        except httpx.HTTPError as error:
            seen = str(error) or type(error).__name__
            from f.flexcore.lib.core import tls_errors

            certificates = tls_errors.tls_remedy(tls_errors.error_chain(error), field="cluster.ca_certificate")
        if certificates or clock() > until:
            raise errors.Unreachable(
                f"The deployed model does not answer at {url}: {seen}",
                subject="cluster.serve_url",
                category="tls" if certificates else "",
                remedy=certificates or "Name in serve_url the address under which callers reach Ray Serve.",
            )
        sleep(RETRY_INTERVAL_S)


def _parse(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
