# requirements: flexcore_api
"""Windmill's REST API for the workspace of this job, with the rights of one caller.

By the standard library: every call of a route is a process of its own, and a larger client takes longer to import than
all that a route does.
"""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from f.flexcore.lib.core import errors, tls_errors

# An answer takes some milliseconds; a list of many jobs some hundred.
TIMEOUT_S = 30
# Where a workspace keeps the settings of this bundle.
SETTINGS = "f/flexcore/settings"


class Windmill:
    def __init__(self, token: str) -> None:
        self.workspace = os.environ["WM_WORKSPACE"]
        self._base = f"{os.environ['BASE_INTERNAL_URL']}/api/w/{quote(self.workspace)}"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        # The server is beside the worker; a proxy is for what is outside.
        self._opener = build_opener(ProxyHandler({}))

    def get(self, path: str, **query: Any) -> Any:
        """JSON below the workspace. Raises NotFound, Forbidden, InvalidInput, Unavailable or Unreachable."""
        return json.loads(self._call("GET", path, query))

    def text(self, path: str) -> str:
        return self._call("GET", path, {})

    def post(self, path: str, body: Any, **query: Any) -> str:
        """The answer's text."""
        return self._call("POST", path, query, json.dumps(body).encode())

    def resource(self, path: str) -> Any:
        """Its value with references resolved."""
        return self.get(f"resources/get_value_interpolated/{path}")

    def _call(self, method: str, path: str, query: dict[str, Any], body: bytes | None = None) -> str:
        url = f"{self._base}/{quote(path)}?{urlencode(query)}"
        try:
            with self._opener.open(Request(url, body, self._headers, method=method), timeout=TIMEOUT_S) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            raise refusal(error.code) from None
        except (URLError, OSError) as error:
            raise errors.Unreachable(
                f"Windmill does not answer: {type(error).__name__}",
                subject="windmill",
                remedy=tls_errors.tls_remedy(tls_errors.error_chain(error)),
            ) from None


def refusal(status: int) -> errors.Forbidden | errors.NotFound | errors.InvalidInput | errors.Unavailable:
    """What an answer of that status means. Its text is not passed on: it may quote what was sent."""
    if status == 404:
        return errors.NotFound("Windmill does not have it", remedy="Check the name, and that you may see it.")
    if status in (401, 403):
        return errors.Forbidden("Windmill refuses this to you", remedy="Use a token that has the right.")
    if status < 500:
        return errors.InvalidInput(f"Windmill refuses the request (HTTP {status})", remedy="Correct it and try again.")
    return errors.Unavailable(f"Windmill cannot do this now (HTTP {status})", remedy="Try again.")
