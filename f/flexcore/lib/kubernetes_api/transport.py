# requirements: flexcore_kubernetes
"""urllib3 as the Kubernetes API wants it: TLS by the access, a proxy, and answers whole or as streams."""

from __future__ import annotations

import os
import ssl
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes_api import credentials, proxies


class Answer:
    """An answer, whole or as a stream (`response`)."""

    def __init__(self, response: Any, to_error: Callable[[Exception], errors.FlexcoreError]) -> None:
        self.response, self._to_error = response, to_error
        self.status = int(response.status)

    @property
    def data(self) -> bytes:
        return bytes(self.response.data)

    def getheader(self, name: str) -> str | None:
        value: str | None = self.response.headers.get(name)
        return value

    def read(self) -> bytes:
        """All of it; the connection is free again. Raises Unreachable where it breaks off."""
        import urllib3

        try:
            return self.data
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._to_error(error) from None


def make_pool(access: credentials.Access) -> Any:
    """urllib3's, as the official client makes it: its own package costs 0.15 s of CPU and adds nothing here."""
    import urllib3

    # A watch on the Job, one on its Pods, a log stream, and calls. Retries are decided here, by the request.
    options: dict[str, Any] = {"maxsize": 8, "retries": False}
    if access.server.startswith("https://"):
        options["ssl_context"] = make_tls_context(access)
        if access.tls_server_name:
            options |= {"server_hostname": access.tls_server_name, "assert_hostname": access.tls_server_name}
        if not access.verify:
            options |= {"cert_reqs": ssl.CERT_NONE, "assert_hostname": False}
    proxy = proxies.choose_proxy(access.server, access.proxy, os.environ)
    if proxy.startswith("socks"):
        from urllib3.contrib.socks import SOCKSProxyManager

        return SOCKSProxyManager(proxy, **options)
    if proxy:
        return urllib3.ProxyManager(proxy, proxy_headers=proxies.make_headers(proxy) or None, **options)
    return urllib3.PoolManager(**options)


def make_tls_context(access: credentials.Access) -> ssl.SSLContext:
    """How to trust the server, and who we are to it. Raises InvalidInput for what is not PEM."""
    try:
        context = ssl.create_default_context(cadata=access.ca or None)
    except ssl.SSLError:
        raise errors.InvalidInput(
            "cluster.ca_certificate is not a PEM certificate",
            subject="cluster.ca_certificate",
            remedy="Paste the text from -----BEGIN CERTIFICATE----- on.",
        ) from None
    if not access.verify:
        # Chosen in the resource; a warning for each call would only bury the log.
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if access.client_certificate:
        try:
            with _private_file(f"{access.client_certificate}\n{access.client_key}\n") as path:
                context.load_cert_chain(path)
        except (ssl.SSLError, ValueError):
            raise errors.InvalidInput(
                "The client certificate and key of the kubeconfig do not belong together or are not PEM",
                subject="cluster.kubeconfig",
                remedy="Give a self-contained one: kubectl config view --raw --flatten --minify.",
            ) from None
    return context


@contextmanager
def _private_file(text: str) -> Iterator[str]:
    """OpenSSL reads keys from files only: one in memory, or where there is none (macOS), one that is gone at once."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("flexcore")
        try:
            os.write(handle, text.encode())
            yield f"/proc/self/fd/{handle}"
        finally:
            os.close(handle)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "client.pem"
        path.touch(mode=0o600)
        path.write_text(text)
        yield str(path)
