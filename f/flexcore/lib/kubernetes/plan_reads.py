# requirements: flexcore_kubernetes
"""What a plan reads of a cluster: many questions at once, each once. Nothing is written.

What may not be seen is None, and named in `unseen`; a plan then says less. Lost contact and refused credentials raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from f.flexcore.lib.core import errors
from f.flexcore.lib.kubernetes import health, plan_tools
from f.flexcore.lib.kubernetes_api import api_errors, client

Object = dict[str, Any]
Result = TypeVar("Result")

# As many as the client keeps connections.
MAX_CONCURRENT_READS = 8
# Reading all of a large cluster would be a burden for its API server.
MAX_NODES = 5000
DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"


@dataclass(frozen=True, slots=True)
class Collection:
    """Of the API, and how rights name it."""

    path: str
    resource: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    accept: str = client.JSON


def list_collections(namespace: str) -> dict[str, Collection]:
    own = f"/api/v1/namespaces/{namespace}"
    return {
        "quotas": Collection(f"{own}/resourcequotas", "resourcequotas"),
        "limits": Collection(f"{own}/limitranges", "limitranges"),
        "nodes": Collection("/api/v1/nodes", "nodes", {"limit": MAX_NODES}),
        "pods": Collection("/api/v1/pods", "pods", {"fieldSelector": NOT_ENDED, "limit": health.MAX_PODS}),
        "leases": Collection("/apis/coordination.k8s.io/v1/leases", "leases.coordination.k8s.io", {"limit": MAX_NODES}),
    }


@dataclass(slots=True)
class Snapshot:
    """One moment of a cluster. apis: by group; missing: helpful rights that are not granted."""

    version: str | None
    namespace: str
    has_namespace: bool | None
    lists: dict[str, list[Object] | None]
    apis: dict[str, plan_tools.Api]
    missing: list[str]

    def items(self, name: str) -> list[Object]:
        return self.lists.get(name) or []

    def is_seen(self, name: str) -> bool:
        return self.lists.get(name) is not None

    @property
    def unseen(self) -> list[str]:
        return sorted(name for name, items in self.lists.items() if items is None)


class Reader:
    """Asks many questions at once. Use it as a context manager."""

    def __init__(self, kubernetes: client.Kubernetes, namespace: str) -> None:
        self.kubernetes, self.namespace = kubernetes, namespace
        self._pool = ThreadPoolExecutor(MAX_CONCURRENT_READS)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, question: Callable[[], Result]) -> Future[Result]:
        return self._pool.submit(question)

    def read_version(self) -> str | None:
        """To be asked first, alone: a wrong address, certificate or token shows here, once."""
        return client.read_version(self.kubernetes).get("gitVersion")

    def begin_snapshot(self, version: str | None, operation: str) -> Callable[[], Snapshot]:
        """Starts asking; the function that is returned waits for the answers.

        It raises Forbidden that names every needed right that is missing, or NotFound for the namespace."""
        namespace = self.submit(partial(health.check_namespace, self.kubernetes, self.namespace))
        rights = {right: self.submit(partial(self._is_allowed, right)) for right in health.list_rights(operation)}
        lists = {
            name: self.submit(partial(self.list_visible, collection))
            for name, collection in list_collections(self.namespace).items()
        }
        groups = self.submit(self._discover)

        def finish() -> Snapshot:
            has_namespace = namespace.result()
            answers = {right: answer.result() for right, answer in rights.items()}
            missing = health.judge_rights(answers, self.namespace, operation)
            read = {name: answer.result() for name, answer in lists.items()}
            apis = groups.result()
            helpful = [str(right) for right in health.drop_unserved(missing, apis or None)]
            return Snapshot(version, self.namespace, has_namespace, read, apis, helpful)

        return finish

    def _is_allowed(self, right: health.Right) -> bool:
        return health.is_allowed(self.kubernetes, right, self.namespace)

    def list_visible(self, collection: Collection) -> list[Object] | None:
        """The whole list; None when it may not be read, is not served or does not end at its limit."""
        call = api_errors.Call("list", collection.resource, self.namespace)
        try:
            page = self.kubernetes.list(collection.path, collection.query, call, accept=collection.accept)
        except (errors.TransientError, errors.UserError) as error:
            if error.category == "credentials":
                raise
            return None
        return None if (page.get("metadata") or {}).get("continue") else list(page.get("items") or [])

    def _discover(self) -> dict[str, plan_tools.Api]:
        call = api_errors.Call("list", "apis")
        try:
            return plan_tools.read_discovery(self.kubernetes.list("/apis", {}, call, accept=DISCOVERY))
        except (errors.TransientError, errors.UserError):
            return {}

    def get_visible(self, path: str, resource: str, name: str) -> Object | errors.FlexcoreError | None:
        """The object, None when there is none, or the error when it may not be seen."""
        try:
            return self.kubernetes.get(path, api_errors.Call("get", resource, self.namespace, name))
        except (errors.Forbidden, errors.Unavailable) as error:
            if error.category == "credentials":
                raise
            return error
