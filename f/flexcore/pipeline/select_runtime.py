# requirements: flexcore_kubernetes
"""Chooses the runtime of a workload among those that are described, and explains it: the candidates, the chosen one,
and why not each other. Asks every runtime how it is now, and Windmill how earlier runs went."""

from typing import Any

from f.flexcore.lib.core import errors, resources, workloads
from f.flexcore.lib.pipeline import choosing
from f.flexcore.lib.selection import selector
from f.flexcore.lib.views import html, selection_pages
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict


def main(
    workload: dict,
    meltano: dict | None = None,
    ray: dict | None = None,
    kubernetes: dict | None = None,
    explain_only: bool = False,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    asked = errors.validated(workloads.Workload, workload, "workload")
    found = choosing.health_now({"meltano": meltano, "ray": ray, "kubernetes": kubernetes}, chosen)
    namespace = choosing.namespace_of(kubernetes or {}, chosen)
    # An empty one means that of the cluster's own resource.
    market = choosing.market_of(chosen, found, namespace or str((kubernetes or {})["cluster"]["namespace"]))
    model, note = choosing.forecaster(client.Client().resource)
    selection = choosing.explained(selector.select(asked, model, market, note), found, asked.runtimes, asked.pin)
    told = [note, *(f"{item.runtime} is {item.state}: {item.detail}" for item in found if item.detail)]
    print("\n".join(line for line in told if line))
    print("\n".join(selection_pages.format_selection_lines(selection.plain())))
    if selection.runtime is None and not explain_only:
        raise errors.Unavailable(
            selection.reason,
            subject="runtimes",
            remedy="Mend one of them, or describe another.",
            selection=selection.plain(),
        )
    plain = {
        "selection": selection.plain(),
        "order": choosing.order_of(selection, asked.pin),
        "expected_s": {item.runtime: item.duration_s and item.duration_s.p50 for item in selection.candidates},
        "namespace": namespace,
        "prices": {name: state.price.plain() for name, state in market.runtimes.items()},
        "health": [{"runtime": item.runtime, "state": item.state, "detail": item.detail} for item in found],
        "note": note,
    }
    return html.wrap_page(selection_pages.render_selection_page(selection.plain()), plain)
