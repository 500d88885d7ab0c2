# requirements: flexcore_kubernetes
"""The operation behind kubernetes/choose_cluster: asks the candidates at once, and chooses among them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Container, Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.kubernetes import cluster_contact, contact_records, placement, placement_request
from f.flexcore.lib.storage import object_store


def choose_cluster(arguments: Mapping[str, Any], read_resource: cluster_contact.ReadResource) -> dict[str, Any]:
    """The plain result of kubernetes/choose_cluster. Raises InvalidInput, or Unreachable when only clusters that do not
    answer now could take it; either with the candidate table in details.candidates."""
    given = {name: value for name, value in arguments.items() if name != "settings"}
    request = errors.validate(placement_request.ClusterChoiceRequest, given, "")
    settings = errors.validate(resources.Settings, arguments.get("settings") or {}, "settings")
    shape = placement_request.make_shape(request, request.cpu, request.memory, request.gpus, request.copies)
    inquiry = cluster_contact.Inquiry(read_resource, settings, request.namespace)
    contacts = ask(inquiry, request.paths(settings), request, settings)
    choice = choose(shape, request, contacts, settings)
    report(choice)
    return contracts.StepResult(
        success=True,
        runtime="kubernetes",
        execution_key=identity.execution_key(os.environ).value,
        attempt=1,
        data={
            "cluster": f"$res:{choice.clusters[0]}",
            "clusters": [f"$res:{name}" for name in choice.clusters],
            "candidates": choice.rows(),
            "notes": list(choice.notes),
        },
    ).plain()


def ask(
    inquiry: cluster_contact.Inquiry,
    names: Sequence[str],
    request: placement_request.PlacementRequest,
    settings: resources.Settings,
    lost: Container[str] = (),
) -> list[cluster_contact.Contact]:
    """The candidates' answers, recorded. lost: of candidates that are not asked again. Raises InvalidInput when two
    name the same cluster."""
    contacts = inquiry.ask(names, request.contact_timeout_s, lost)
    cluster_contact.check_distinct(contacts)
    contact_records.record(object_store.Store(settings), [item for item in contacts if item.name not in lost])
    return contacts


def choose(
    shape: placement.Shape,
    request: placement_request.PlacementRequest,
    contacts: Sequence[cluster_contact.Contact],
    settings: resources.Settings,
) -> placement.Choice:
    """At least one cluster. Raises InvalidInput or Unreachable, each candidate's reason in the message."""
    clusters = [contact.cluster for contact in contacts]
    check_capabilities(shape.capabilities, clusters)
    prices = placement.read_egress_prices(clusters, settings.egress_usd_per_gib)
    choice = placement.choose(shape, clusters, prices, request.strategy, request.count)
    if not choice.clusters:
        raise refuse(choice)
    if request.strategy == "spread" and choice.notes:
        raise errors.InvalidInput(
            f"{choice.notes[0]}: {_join_reasons(choice)}",
            subject="count",
            remedy="Ask for fewer, or add clusters.",
            candidates=choice.rows(),
        )
    return choice


def refuse(choice: placement.Choice) -> errors.FlexcoreError:
    """The error of a choice among candidates of which none is left."""
    text = f"No cluster can take it: {_join_reasons(choice)}"
    if any(item.is_passing for item in choice.candidates):
        remedy = "Try again when a cluster answers, or name others."
        return errors.Unreachable(text, subject="clusters", remedy=remedy, candidates=choice.rows())
    remedy = "Ask for less, or name other clusters."
    return errors.InvalidInput(text, subject="clusters", category="no_cluster", remedy=remedy, candidates=choice.rows())


def _join_reasons(choice: placement.Choice) -> str:
    return "; ".join(
        f"{item.cluster}: {item.reason.rstrip('. ')}" for item in choice.candidates if item.verdict != "likely"
    )


def check_capabilities(wanted: frozenset[str], clusters: Sequence[placement.Cluster]) -> None:
    """Raises InvalidInput for a word that no cluster declares and that cannot be detected."""
    declared = {word for cluster in clusters for word in cluster.capabilities}
    known = sorted(
        declared | {placement.AUTOSCALING} | set(cluster_contact.DETECTED.values()) | set(cluster_contact.OF_NODES)
    )
    for word in sorted(wanted - set(known)):
        near = difflib.get_close_matches(word, known, 1)
        hint = f", did you mean {near[0]}?" if near else ""
        raise errors.InvalidInput(
            f"capabilities: {word!r} is not known{hint}",
            subject="capabilities",
            remedy=f"Use one of {', '.join(known)}, or write it into the capabilities of a cluster resource.",
        )


def report(choice: placement.Choice) -> None:
    """The candidate table in the log, one line each."""
    for row in choice.rows():
        rank = f"{row['rank']}." if row["rank"] else "-"
        print(f"{rank} {row['cluster']}: {row['verdict']} ({row['reason']})", flush=True)
    for note in choice.notes:
        print(f"Note: {note}", flush=True)
