# requirements: flexcore_kubernetes
"""What a form offers of clusters: those of the settings, and the namespaces of one."""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors, form_choices, resources
from f.flexcore.lib.kubernetes import connection
from f.flexcore.lib.kubernetes_api import api_errors


@form_choices.explain_failure
def namespace_choices(cluster: Any, typed: str | None = "") -> form_choices.Choices:
    """The cluster's namespaces; the resource's own where the credentials may not list them."""
    if not cluster:
        return form_choices.note("First choose a cluster", "Without one, create a c_kubernetes_cluster resource.")
    session = connection.connect(cluster)
    try:
        page = session.kubernetes.get("/api/v1/namespaces", api_errors.Call("list", "namespaces", "")) or {}
    except errors.Forbidden as error:
        if error.category == "credentials":
            raise
        return form_choices.filter_choices([(session.namespace, session.namespace)])
    names = sorted(str(item["metadata"]["name"]) for item in page.get("items") or [])
    return form_choices.filter_choices([(name, name) for name in names], typed)


@form_choices.explain_failure
def cluster_choices(settings: Any, typed: str | None = "") -> form_choices.Choices:
    """The clusters that the settings name, by the paths of their resources."""
    found = errors.validate(resources.Settings, settings or {}, "settings")
    paths = [path.removeprefix("$res:") for path in found.kubernetes_clusters]
    if not paths:
        return form_choices.note("First choose settings that name clusters", "Write them into kubernetes_clusters.")
    return form_choices.filter_choices([(path, path) for path in paths], typed)
