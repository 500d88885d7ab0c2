# requirements: flexcore_base
"""Windmill's own REST API for one workspace: JSON in, JSON or a typed error out. The local engine answers the same."""

from __future__ import annotations

from typing import Any

import httpx

from f.flexcore.lib.core import errors, tls_errors


class WindmillApi:
    """http: a client whose base is the server's API, as `wmill.Windmill().client` is."""

    def __init__(self, http: httpx.Client, workspace: str) -> None:
        self.http, self.workspace = http, workspace

    def get(self, path: str, **query: Any) -> Any:
        """Raises NotFound, Forbidden or Unreachable."""
        try:
            answer = self.http.get(f"/w/{self.workspace}/{path}", params=query)
            return answer.raise_for_status().json()
        except httpx.HTTPStatusError as error:
            raise _refusal(path, error.response.status_code) from None
        except (httpx.HTTPError, ValueError) as error:
            raise errors.Unreachable(
                f"Windmill does not answer: {type(error).__name__}",
                subject="workspace",
                remedy=tls_errors.tls_remedy(tls_errors.error_chain(error)) or "Try again.",
            ) from None

    def post(self, path: str, body: Any) -> httpx.Response:
        """The answer, whatever its status. Raises httpx.HTTPError."""
        return self.http.post(f"/w/{self.workspace}/{path}", json=body)


def _refusal(path: str, status: int) -> errors.Forbidden | errors.NotFound:
    if status == httpx.codes.NOT_FOUND:
        return errors.NotFound(
            f"Windmill knows no {path}", subject="workspace", remedy="Check the id, the workspace, and your rights."
        )
    return errors.Forbidden(
        f"Windmill refused to tell of jobs (HTTP {status})",
        subject="workspace",
        remedy="Run this as a user who may see the workspace's jobs, best an admin.",
    )
