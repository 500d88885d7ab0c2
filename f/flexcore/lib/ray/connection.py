# requirements: flexcore_base
"""How a head's dashboard is reached now: a resource or a reference becomes an address with its credentials.

    address             as it is
    resource            another resource, read from Windmill
    name                a RayCluster of KubeRay: by its Service within the cluster, else through the API server's proxy,
                        with the token of its Secret in X-Ray-Authorization, since the proxy takes Authorization
    local_head          a head that ensure_cluster started on this machine

It is resolved when a connection is opened, and once more when the head refuses the token: a rotated one is picked up.
Cost of a RayCluster: two requests to the API server beside one to Windmill (some 10 ms each), and 60 ms of imports.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from f.flexcore.lib.core import errors, lean_httpx, resources

if TYPE_CHECKING:
    from f.flexcore.lib.ray import kubernetes_session

httpx = lean_httpx.httpx

# Ray reads the token here, too, where a proxy in front takes the usual header: ray/_private/authentication.
PROXIED_TOKEN_HEADER = "X-Ray-Authorization"
REFUSED = (401, 403)
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Connection:
    """cluster: the resource with its address and token; headers: all that authenticate a request; verify: how the
    server is trusted, None where the resource says it; on_kubernetes: the reference to the RayCluster, with its
    namespace, that the address leads to: an address of the API server says nothing of where the cluster is."""

    cluster: resources.RayCluster
    headers: dict[str, str] = field(repr=False)
    verify: ssl.SSLContext | bool | None = None
    proxy: str = ""
    on_kubernetes: resources.RayCluster | None = None

    def secrets(self) -> Iterator[str]:
        yield from self.cluster.secrets()
        for value in self.headers.values():
            yield from (value, value.removeprefix("Bearer "))


class TokenAuth(httpx.Auth):
    """The headers of a connection; those of a new one once the head refuses them and they have changed since.

    beat: keeps the lease that the reference stands for; raises Conflict when that has ended."""

    def __init__(
        self,
        connection: Connection,
        renew: Callable[[], Connection] | None = None,
        beat: Callable[[], None] | None = None,
    ) -> None:
        self.connection, self._renew, self._beat = connection, renew, beat

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._beat:
            self._beat()
        request.headers.update(self.connection.headers)
        response = yield request
        if response.status_code not in REFUSED or self._renew is None:
            return
        try:
            renewed = self._renew()
        except errors.FlexcoreError:
            # What the head said is what the caller learns.
            return
        if renewed.headers != self.connection.headers:
            self.connection = renewed
            request.headers.update(renewed.headers)
            yield request


def connect(cluster: resources.RayCluster) -> Connection:
    """Raises InvalidInput for an incomplete reference, NotFound when there is no such cluster, and the errors of
    Windmill and Kubernetes."""
    if cluster.is_on_kubernetes:
        return _connect_on_kubernetes(cluster)
    if cluster.resource:
        return connect(read_resource(cluster))
    if cluster.local_head:
        from f.flexcore.lib.ray import local_head_files

        cluster = local_head_files.read_address(cluster.local_head)
    return Connection(cluster, token_headers(cluster))


def open_auth(cluster: resources.RayCluster) -> TokenAuth:
    """What authenticates the requests of one connection. Raises what `connect` raises."""
    if not cluster.is_reference and not cluster.lease:
        return TokenAuth(connect(cluster), lambda: _renew(cluster))
    beat = None
    if cluster.lease:
        from f.flexcore.lib.ray import heartbeat

        beat = heartbeat.Heartbeat(cluster).beat
    return TokenAuth(connect(cluster), lambda: connect(cluster), beat)


def _renew(cluster: resources.RayCluster) -> Connection:
    """A resource that came with its token, with the token that Windmill has for it now."""
    from f.flexcore.lib.ray import token_source

    token = token_source.read_token() if cluster.token else ""
    return connect(cluster.model_copy(update={"token": token}) if token else cluster)


def follow(cluster: resources.RayCluster) -> resources.RayCluster:
    """The resource that a reference names, or what was given."""
    return read_resource(cluster) if cluster.resource else cluster


def read_resource(cluster: resources.RayCluster) -> resources.RayCluster:
    """The resource that a reference names."""
    from f.flexcore.lib.windmill import client

    path = cluster.resource.removeprefix("$res:")
    found = errors.validate(resources.RayCluster, client.Client().resource(path) or {}, path)
    if found.resource:
        raise errors.InvalidInput(
            f"The resource {path} refers to another one, {found.resource}",
            subject="cluster.resource",
            remedy="Name the resource that has the address.",
        )
    return found


def token_headers(cluster: resources.RayCluster) -> dict[str, str]:
    headers = dict(cluster.headers)
    if cluster.token:
        # Ray's own token authentication reads this header too, and a proxy in front reads nothing else.
        headers["Authorization"] = f"Bearer {cluster.token}"
    return headers


# --- a RayCluster of KubeRay


def _connect_on_kubernetes(cluster: resources.RayCluster) -> Connection:
    from f.flexcore.lib.ray import kubernetes_session

    if not cluster.name:
        raise errors.InvalidInput(
            "cluster.name is empty", subject="cluster.name", remedy="Name the RayCluster of the Kubernetes cluster."
        )
    with kubernetes_session.open_session(cluster) as session:
        return connect_in_session(cluster, session)


def connect_in_session(cluster: resources.RayCluster, session: kubernetes_session.Session) -> Connection:
    """The connection to a RayCluster. Raises NotFound when there is none."""
    found = read_ray_cluster(session, cluster.name)
    if found is None:
        raise errors.NotFound(
            f"There is no RayCluster {cluster.name} in namespace {session.namespace}",
            subject="cluster.name",
            remedy="Correct name and namespace, or make it with f/flexcore/ray/ensure_cluster.",
        )
    token = read_token(session, found)
    return make_connection(cluster, session, token)


def make_connection(cluster: resources.RayCluster, session: kubernetes_session.Session, token: str) -> Connection:
    from f.flexcore.lib.kubernetes_api import transport
    from f.flexcore.lib.ray import cluster_spec

    service, access = cluster_spec.head_service_name(cluster.name), session.kubernetes.access
    place = cluster.model_copy(update={"namespace": session.namespace})
    if session.is_inside:
        address = f"http://{service}.{session.namespace}.svc:{cluster_spec.DASHBOARD_PORT}"
        resolved = _with_address(cluster, address, token)
        return Connection(resolved, token_headers(resolved), on_kubernetes=place)
    address = f"{access.server}/api/v1/namespaces/{session.namespace}/services/{service}:dashboard/proxy"
    headers = {PROXIED_TOKEN_HEADER: f"Bearer {token}"} if token else {}
    if bearer := access.bearer():
        headers["Authorization"] = f"Bearer {bearer}"
    verify = transport.make_tls_context(access) if access.server.startswith("https://") else False
    return Connection(_with_address(cluster, address, token), headers, verify, access.proxy, place)


def read_ray_cluster(session: kubernetes_session.Session, name: str) -> Object | None:
    from f.flexcore.lib.kubernetes_api import api_errors

    path = f"/apis/ray.io/v1/namespaces/{session.namespace}/rayclusters/{name}"
    return session.kubernetes.get(path, api_errors.Call("get", "rayclusters.ray.io", session.namespace, name))


def read_token(session: kubernetes_session.Session, ray_cluster: Object) -> str:
    """The token of a RayCluster, "" when it asks for none. Raises NotFound when its Secret is not there."""
    from f.flexcore.lib.kubernetes_api import api_errors

    where = find_token_key(ray_cluster)
    if where is None:
        return ""
    name, key = where
    path = f"/api/v1/namespaces/{session.namespace}/secrets/{name}"
    secret = session.kubernetes.get(path, api_errors.Call("get", "secrets", session.namespace, name))
    try:
        token = base64.b64decode(((secret or {}).get("data") or {})[key], validate=True).decode().strip()
    except (KeyError, binascii.Error, UnicodeDecodeError):
        raise errors.NotFound(
            f"The Secret {name} of the Ray cluster has no {key} in namespace {session.namespace}",
            subject="cluster.token",
            category="token_missing",
            remedy="Create the Secret again, or run f/flexcore/ray/ensure_cluster, which does.",
        ) from None
    return token


def find_token_key(ray_cluster: Object) -> tuple[str, str] | None:
    """(Secret, key) of a RayCluster's token; None for one that asks for none. Pure."""
    from f.flexcore.lib.ray import kuberay_ownership

    return kuberay_ownership.find_token_key(ray_cluster)


def _with_address(cluster: resources.RayCluster, address: str, token: str) -> resources.RayCluster:
    return resources.RayCluster(address=address, token=token, serve_url=cluster.serve_url)
