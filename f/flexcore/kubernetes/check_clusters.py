# requirements: flexcore_kubernetes
"""All clusters and our work on them in a table each, with the last contact and the deadlines there."""

from typing import Any

from f.flexcore.lib.kubernetes import cluster_status
from f.flexcore.lib.views import cluster_pages, html
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict


def main(
    clusters: list[str] | None = None, timeout_s: float = 5, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    found = cluster_status.check_clusters(clusters, timeout_s, settings, client.Client().resource)
    return html.wrap_page(cluster_pages.render_clusters_page(found["clusters"], found["work"]), found)
