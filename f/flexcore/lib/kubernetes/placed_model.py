# requirements: flexcore_kubernetes
"""The operation behind kubernetes/place_model: a model on the clusters that suit it, one after the other.

    choose → for each cluster: record → deploy → record ──first that fails──→ stop, and say what stands where
A cluster on which the model stands already keeps it while it can; the first copy of the record is the one in use.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import Field

from f.flexcore.lib.core import contracts, errors, identity, operation, resources
from f.flexcore.lib.kubernetes import (
    cluster_choice,
    cluster_contact,
    model_deployment,
    placement,
    placement_moves,
    placement_records,
    placement_request,
)
from f.flexcore.lib.storage import object_store

Record = placement_records.PlacementRecord


class PlacedModelRequest(resources.Form):
    """The form of kubernetes/place_model."""

    deployment: dict[str, Any] = Field(
        description="The deployment: the fields of kubernetes/deploy_model, e.g. model, name, replicas."
    )
    placement: placement_request.PlacementRequest = Field(
        default=placement_request.PlacementRequest(),
        description="Among which clusters and by what: the fields of kubernetes/choose_cluster. spread serves from "
        "count clusters; failover too, and the first one is used while it answers.",
    )


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """What became of one cluster: deployed, failed or not started; version: what stands there now, "" for nothing."""

    cluster: str
    state: str
    version: str
    url: str = ""
    error: str = ""

    def plain(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(slots=True)
class PlacedModel:
    """One model under one name. clock: seconds since the epoch."""

    deployment: model_deployment.DeploymentRequest
    request: placement_request.PlacementRequest
    settings: resources.Settings
    key: identity.ExecutionKey
    book: placement_records.PlacementBook
    read_resource: cluster_contact.ReadResource
    clock: Callable[[], float] = time.time
    report: Callable[[str], None] = field(default=partial(print, flush=True))

    def check_model(self) -> None:
        """Raises InvalidInput or ManifestMismatch."""
        _ = self.model

    @property
    def model(self) -> contracts.ModelManifest:
        model = model_deployment.parse_model(self.deployment)
        if model is None:
            raise errors.InvalidInput(
                "deployment.model is missing: give the manifest of a trained model",
                subject="deployment.model",
                remedy="Pass the output of a training.",
            )
        return model

    @property
    def name(self) -> str:
        return self.deployment.name or self.model.name

    @property
    def id(self) -> str:
        workspace = identity.label_value(self.key.workspace)
        return placement_records.make_model_id(self.name, self.deployment.namespace, workspace)

    # --- choose

    def ask(self, lost: Container[str] = ()) -> list[cluster_contact.Contact]:
        """lost: those that did not answer just now."""
        inquiry = cluster_contact.Inquiry(self.read_resource, self.settings, self.deployment.namespace, self.clock)
        return cluster_choice.ask(inquiry, self.request.paths(self.settings), self.request, self.settings, lost)

    def choose(
        self, contacts: Sequence[cluster_contact.Contact], record: Record | None, excluded: Sequence[str] = ()
    ) -> placement.Choice:
        """Those on which it stands first, as long as nothing speaks against them; then the best of the rest. Raises
        InvalidInput or Unreachable, with the candidate table."""
        asked = self.deployment
        shape = placement_request.make_shape(self.request, asked.cpu, asked.memory, copies=asked.replicas)
        shape = replace(shape, excluded=shape.excluded | set(excluded))
        wanted = 1 if self.request.strategy == "one" else self.request.count
        by_name = {contact.name: contact.cluster for contact in contacts}
        standing = [
            copy.cluster
            for copy in (record.copies if record else ())
            if copy.cluster in by_name and not placement.find_refusal(shape, by_name[copy.cluster])
        ][:wanted]
        if len(standing) == wanted:
            found = cluster_choice.choose(shape, self.request, contacts, self.settings)
            return replace(found, clusters=tuple(standing))
        rest = [contact for contact in contacts if contact.name not in standing]
        missing = self.request.model_copy(update={"count": wanted - len(standing)})
        try:
            found = cluster_choice.choose(shape, missing, rest, self.settings)
        except errors.FlexcoreError:
            if not standing or self.request.strategy == "spread":
                raise
            return placement.Choice(tuple(standing), (), (f"count: {wanted} clusters were asked for",))
        return replace(found, clusters=(*standing, *found.clusters))

    # --- roll out

    def place(self) -> dict[str, Any]:
        """The plain result: data.clusters says what stands where. Raises the error of the first cluster that fails,
        with the same in details.clusters."""
        record = self.book.read("models", self.id)
        choice = self.choose(self.ask(), record)
        cluster_choice.report(choice)
        rows, outputs = self.roll_out(choice.clusters)
        self._drop_others(choice.clusters)
        first = outputs[0]
        return {
            **first,
            "data": {
                **(first.get("data") or {}),
                "cluster": f"$res:{choice.clusters[0]}",
                "clusters": [row.plain() for row in rows],
                "candidates": choice.rows(),
                "notes": list(choice.notes),
            },
        }

    def roll_out(self, clusters: Sequence[str]) -> tuple[list[RolloutRow], list[dict[str, Any]]]:
        """(what stands where, results), one cluster after the other. Raises at the first bad one."""
        rows, outputs = [], []
        for index, cluster in enumerate(clusters):
            try:
                outputs.append(self.deploy(cluster))
            except errors.FlexcoreError as error:
                rows += self._describe_stop(clusters[index:], error)
                raise self._stop(error, rows) from None
            rows.append(RolloutRow(cluster, "deployed", self.model.version, _read_url(outputs[-1])))
            self.report(f"{index + 1} of {len(clusters)}: {self.name} {self.model.version} answers on {cluster}")
        return rows, outputs

    def deploy(self, cluster: str) -> dict[str, Any]:
        """Deploys to one cluster and writes it down, before and after."""
        self.report(f"Deploying {self.name} to {cluster}")
        service = errors.validate(resources.KubernetesCluster, self.read_resource(cluster) or {}, cluster)
        invocation = operation.Invocation("kubernetes", self.deployment, service, self.settings, self.key)
        namespace = model_deployment.open_session(invocation).namespace
        before = self._note(cluster, namespace=namespace, name=self.name, key=self.key.value, was_sent=True)
        try:
            result = model_deployment.execute(invocation)
        except errors.FlexcoreError as error:
            # One that was never served is removed again where it can be; a cluster that is lost may keep it.
            if not before and not cluster_contact.is_lost_contact(error):
                self._forget(cluster)
            raise
        remote = result.get("remote") or {}
        self._note(cluster, uid=str(remote.get("uid") or ""), url=_read_url(result), version=self.model.version)
        return result

    def _note(self, cluster: str, **facts: Any) -> bool:
        """Whether the model stood there before."""
        stood = False

        def change(stored: Record | None) -> Record:
            nonlocal stood
            record = stored or Record(kind="models", id=self.id, name=self.name, namespace=self.deployment.namespace)
            stood = any(copy.cluster == cluster and copy.version for copy in record.copies)
            if not any(copy.cluster == cluster for copy in record.copies):
                fresh = placement_moves.PlacedCopy(cluster=cluster, kind="Deployment")
                record = record.model_copy(update={"copies": [*record.copies, fresh]})
            left = [copy for copy in record.left if copy.cluster != cluster]
            forms = {
                "placement": self.request.model_dump(mode="json"),
                "deployment": self.deployment.model_dump(mode="json"),
                "labels": self.key.labels(1),
            }
            record = record.model_copy(update={"left": left, "ended_at": None, **forms})
            return placement_records.update_copy(record, cluster, **facts)

        self.book.change("models", self.id, change)
        return stood

    def _forget(self, cluster: str) -> None:
        def change(stored: Record | None) -> Record | None:
            kept = [copy for copy in stored.copies if copy.cluster != cluster] if stored else []
            return stored and stored.model_copy(update={"copies": kept})

        self.book.change("models", self.id, change)

    def _drop_others(self, clusters: Sequence[str]) -> None:
        """Copies on clusters that were not chosen are left for reconcile, and the first chosen one is in use."""
        now = self.clock()

        def change(stored: Record | None) -> Record | None:
            if stored is None:
                return None
            record = stored
            for copy in stored.copies:
                if copy.cluster not in clusters:
                    record = placement_records.replace_copy(record, copy.cluster, None, "placed elsewhere", now)
            order = {cluster: index for index, cluster in enumerate(clusters)}
            return record.model_copy(update={"copies": sorted(record.copies, key=lambda copy: order[copy.cluster])})

        self.book.change("models", self.id, change)

    # --- stopped half-way

    def _describe_stop(self, clusters: Sequence[str], error: errors.FlexcoreError) -> list[RolloutRow]:
        record = self.book.read("models", self.id)
        known = {copy.cluster: copy for copy in (record.copies if record else ())}
        rows = []
        for index, cluster in enumerate(clusters):
            copy = known.get(cluster)
            version, url = (copy.version, copy.url) if copy else ("", "")
            state, text = ("not started", "") if index else ("failed", str(error))
            rows.append(RolloutRow(cluster, state, version, url, text))
        return rows

    def _stop(self, error: errors.FlexcoreError, rows: Sequence[RolloutRow]) -> errors.FlexcoreError:
        stands = "; ".join(f"{row.cluster}: {row.state}, {row.version or 'nothing'} stands" for row in rows)
        error.args = (f"The rollout of {self.name} {self.model.version} has stopped: {error} What stands: {stands}.",)
        error.details["clusters"] = [row.plain() for row in rows]
        return error


def _read_url(result: Mapping[str, Any]) -> str:
    return str((result.get("output") or {}).get("url") or "")


def place_model(
    arguments: Mapping[str, Any], read_resource: cluster_contact.ReadResource, env: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The plain result of kubernetes/place_model. Raises InvalidInput before any cluster is asked."""
    given = {name: value for name, value in arguments.items() if name != "settings"}
    request = errors.validate(PlacedModelRequest, given, "")
    settings = errors.validate(resources.Settings, arguments.get("settings") or {}, "settings")
    placed = open_model(request.deployment, request.placement, settings, read_resource, env)
    try:
        model_deployment.check(placed.deployment, None, settings)
    except errors.FlexcoreError as error:
        raise errors.qualify(error, "deployment") from None
    if placed.deployment.mode == "kserve":
        raise errors.InvalidInput(
            "deployment.mode: 'kserve' cannot be used with a placement",
            subject="deployment.mode",
            remedy="Use deployment, or deploy_model for each cluster.",
        )
    placed.request.paths(settings)
    return placed.place()


def open_model(
    deployment: Mapping[str, Any],
    placement_form: Any,
    settings: resources.Settings,
    read_resource: cluster_contact.ReadResource,
    env: Mapping[str, str] = os.environ,
) -> PlacedModel:
    """Raises InvalidInput or ManifestMismatch for forms that are wrong, and for one without a model."""
    placed = PlacedModel(
        errors.validate(model_deployment.DeploymentRequest, deployment, "deployment"),
        errors.validate(placement_request.PlacementRequest, placement_form, "placement"),
        settings,
        identity.execution_key(env),
        placement_records.PlacementBook(object_store.Store(settings)),
        read_resource,
    )
    placed.check_model()
    return placed
