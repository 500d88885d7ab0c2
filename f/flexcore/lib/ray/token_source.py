# requirements: flexcore_base
"""The token of a Ray cluster: what a refusal says about it, and what it is now.

401  Ray got no token       the resource has none, or a proxy in between took it away
403  Ray got another token  it was mistyped, or rotated since
A proxy or a Kubernetes in front means the usual: 401 not known, 403 known without the right.

A step that watches a job for hours outlives the token that it was started with. It gets its resource resolved and
cannot tell where it came from; Windmill keeps the arguments of the step's own job as they were given (`$res:u/ann/ray`,
or a resource whose token is `$var:u/ann/token`), and resolves them again.
Source of Ray's answers: ray/_private/authentication/http_token_authentication.py of Ray 2.60.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from f.flexcore.lib.core import errors

# The step's argument that holds the resource.
FIELD = "cluster"
NO_TOKEN, OTHER_TOKEN = "Missing authentication token", "Invalid authentication token"
HOW = "the head's own is in its file RAY_AUTH_TOKEN_PATH, or in KubeRay's Secret under auth_token"


def refusal(address: str, status: int, text: str, has_token: bool) -> errors.Forbidden:
    """The error for an answer 401 or 403. details.cause: no_token, token_lost, other_token, unknown_credentials or
    no_right."""
    at = f"The Ray dashboard at {address}"
    if NO_TOKEN in text and not has_token:
        cause, message = "no_token", f"{at} asks for a token, and the resource has none"
        remedy = f"Set the token of the Ray cluster resource; {HOW}."
    elif NO_TOKEN in text:
        cause, message = "token_lost", f"{at} got no token, though one was sent"
        remedy = "Let the proxy in between pass Authorization, or give the token as x-ray-authorization in headers."
    elif OTHER_TOKEN in text:
        cause, message = "other_token", f"{at} refused the credentials: its token is another one, or was rotated"
        remedy = f"Set the token of the Ray cluster resource anew; {HOW}."
    elif status == 401:
        cause, message = "unknown_credentials", f"{at} refused the credentials (HTTP 401)"
        remedy = "Check the token and headers of the Ray cluster resource; they may be missing, wrong or expired."
    else:
        cause, message = "no_right", f"{at} knows the credentials and refused the right (HTTP 403)"
        remedy = "Ask whoever runs the cluster, or the proxy in front of it, for the right to its Jobs API."
    return errors.Forbidden(message, subject="cluster.token", remedy=remedy, cause=cause)


def read_token(env: Mapping[str, str] = os.environ) -> str:
    """The token that the cluster's resource has now; "" when this is no job, its cluster was given as plain values, or
    Windmill does not say."""
    job = env.get("WM_JOB_ID")
    if not (job and env.get("WM_TOKEN") and env.get("BASE_INTERNAL_URL")):
        return ""
    # Only who was refused pays for it.
    from f.flexcore.lib.windmill import client

    try:
        windmill = client.Client()
        given: Any = (windmill.job(job).get("args") or {}).get(FIELD)
        if isinstance(given, str) and given.startswith("$res:"):
            given = windmill.resource(given)
        token = given.get("token") if isinstance(given, dict) else ""
        if isinstance(token, str) and token.startswith("$var:"):
            token = windmill.get(f"variables/get_value/{token.removeprefix('$var:')}")
    except errors.FlexcoreError:
        return ""
    # What still begins so is a reference that could not be resolved.
    return token if isinstance(token, str) and not token.startswith("$") else ""
