# requirements: flexcore_base
"""The Kubernetes API by httpx: for steps that have httpx at hand and the official client's package not installed.

The same calls, retries and errors as client.Kubernetes, of which only the transport is another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import api_errors, client, transport


class Answer:
    """An answer as client.Kubernetes reads it: whole, or as a stream of lines (`response`)."""

    def __init__(self, response: httpx.Response, to_error: Callable[[Exception], errors.FlexcoreError]) -> None:
        self._response, self._to_error = response, to_error
        self._chunks: Iterator[bytes] | None = None
        self.status = response.status_code

    @property
    def response(self) -> Answer:
        return self

    @property
    def data(self) -> bytes:
        return self._response.content

    def getheader(self, name: str) -> str | None:
        value: str | None = self._response.headers.get(name)
        return value

    def read(self) -> bytes:
        """All of it; the connection is free again."""
        try:
            return self._response.read()
        except httpx.HTTPError as error:
            raise self._to_error(error) from None
        finally:
            self._response.close()

    def read1(self, size: int) -> bytes:
        """What is there, of any size; b"" at the end. Raises OSError when the connection breaks."""
        self._chunks = self._chunks or self._response.iter_bytes()
        try:
            return next(self._chunks, b"")
        except httpx.HTTPError as error:
            raise OSError(type(error).__name__) from None

    def close(self) -> None:
        self._response.close()


class HttpKubernetes(client.Kubernetes):
    """One cluster, by httpx."""

    def _open(self) -> None:
        is_tls = self.access.server.startswith("https://")
        self.http = httpx.Client(
            base_url=self.access.server,
            verify=transport.make_tls_context(self.access) if is_tls else False,
            headers={"Accept": "application/json", "User-Agent": "flexcore"},
            proxy=self.access.proxy or None,
            trust_env=False,
        )

    def close(self) -> None:
        self.http.close()

    def _authorize(self) -> None:
        if token := self.access.bearer():
            self.http.headers["Authorization"] = f"Bearer {token}"

    def _send(
        self,
        method: str,
        path: str,
        query: client.Query,
        body: Any,
        call: api_errors.Call,
        read_s: float,
        accept: str = client.JSON,
    ) -> Any:
        headers = {"Accept": accept} | ({} if body is None else {"Content-Type": client.content_type(method, query)})
        values = {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}
        request = self.http.build_request(
            method,
            path,
            params=values,
            headers=headers,
            content=None if body is None else json.dumps(body),
            timeout=httpx.Timeout(read_s, connect=client.CONNECT_TIMEOUT_S),
            extensions={"sni_hostname": self.access.tls_server_name} if self.access.tls_server_name else None,
        )
        to_error = partial(api_errors.to_unreachable, server=self.access.server, call=call)
        try:
            response = self.http.send(request, stream=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise to_error(error) from None
        return Answer(response, to_error)
