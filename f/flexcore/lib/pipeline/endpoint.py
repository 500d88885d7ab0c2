# requirements: flexcore_base
"""Whether a deployed model still answers, by the Open Inference Protocol v2."""

from __future__ import annotations

from f.flexcore.lib.core import contracts, errors

TIMEOUT_S = 5


def check_ready(endpoint: contracts.EndpointManifest) -> None:
    """Raises Unreachable unless the endpoint's model says that it is ready."""
    # Only a run with a finished deployment comes here; the others need not pay for the import.
    import httpx

    url = f"{endpoint.url}/v2/models/{endpoint.model_name}/ready"
    try:
        ready = httpx.get(url, timeout=TIMEOUT_S).status_code == httpx.codes.OK
    except httpx.HTTPError:
        ready = False
    if not ready:
        raise errors.Unreachable(f"{url} does not answer", subject=endpoint.url, remedy="Deploy the model again.")
