# requirements: flexcore_kubernetes
"""The plan of a deployment: what kubernetes/deploy_model would make of a model server, beside what is there.

It looks as the deployer does and writes nothing: fields that an earlier version holds are not taken over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from f.flexcore.lib.core import contracts, errors, identity, operation, resources
from f.flexcore.lib.kubernetes import (
    autoscaler,
    cluster_objects,
    competitors,
    connection,
    inference_service,
    model_deployer,
    ownership,
    plan_objects,
    plan_price,
    plan_reads,
    plan_reasons,
    plan_work,
    serving_manifests,
)
from f.flexcore.lib.kubernetes_api import field_owners

Object = dict[str, Any]
Result = TypeVar("Result")

INFERENCE_SERVICES, CONFIG_MAPS = cluster_objects.INFERENCE_SERVICES, cluster_objects.CONFIG_MAPS


def plan(
    invocation: operation.Invocation[Any, resources.KubernetesCluster],
    session: connection.Session,
    serving: serving_manifests.Serving,
    notes: list[str],
) -> contracts.StepResult:
    """notes: of what the serving was made from. Raises Unreachable, Forbidden or NotFound."""
    template = serving_manifests.make_pod_template(serving)
    work = plan_work.Work(
        operation="deploy",
        name=serving.name,
        template=template,
        labels={},
        copies=serving.replicas,
        prices=plan_price.read_prices(invocation.service, invocation.settings),
        prepare=lambda reader: Deployment(reader, serving).prepare(),
        notes=[*notes, *_note_scaling(serving.scaling)],
    )
    return plan_work.plan(session.kubernetes, session.namespace, work, invocation.key)


def _note_scaling(scaling: autoscaler.Scaling) -> list[str]:
    return [f"An autoscaler makes up to {scaling.max_replicas} copies of it"] if scaling.is_automatic else []


class Deployment:
    """One deployment that is looked at."""

    def __init__(self, reader: plan_reads.Reader, serving: serving_manifests.Serving) -> None:
        self.reader, self.serving = reader, serving
        self.reasons: list[plan_reasons.Reason] = []
        self.notes: list[str] = []
        self.place = cluster_objects.Namespace(reader.kubernetes, reader.namespace, report=self.notes.append)

    def prepare(self) -> plan_work.Prepared:
        bodies = self._list_inference_bodies() if self.serving.mode == "kserve" else self._list_server_bodies()
        return plan_work.Prepared([self._make_wanted(*item) for item in bodies], self.reasons, self.notes)

    def _list_server_bodies(self) -> list[tuple[cluster_objects.Kind, Object, Object | None]]:
        """(kind, what is to be stored, what is there)"""
        place, name = self.place, self.serving.name
        scaler = self._ask(lambda: autoscaler.choose_kind(self.serving.scaling, place))
        plan = model_deployer.Plan(self.serving, scaler, False, {})
        self._ask(lambda: competitors.check_kserve(place, name))
        self._ask(lambda: competitors.check_rollouts(place, name))
        plan.is_scaled_by_others = bool(
            self._ask(lambda: competitors.check_autoscalers(place, name, is_ours=scaler is not None))
        )
        plan.before = self._read(plan.names())
        owner = plan.before.get(cluster_objects.DEPLOYMENTS)
        if owner and self._ask(lambda: competitors.is_shifted(place, owner)):
            plan.is_scaled_by_others = True
        config_map = serving_manifests.make_config_map(self.serving, owner)
        stored = self._read({CONFIG_MAPS: self.serving.config_map_name})
        bodies = [(kind, body, plan.before.get(kind)) for kind, body in plan.make_bodies()]
        return [*bodies, (CONFIG_MAPS, config_map, stored.get(CONFIG_MAPS))]

    def _list_inference_bodies(self) -> list[tuple[cluster_objects.Kind, Object, Object | None]]:
        serving, before = self.serving, len(self.reasons)
        self._ask(lambda: inference_service.check_served(self.place, serving.scaling))
        if len(self.reasons) > before:
            return []
        names = {INFERENCE_SERVICES: serving.name, CONFIG_MAPS: serving.config_map_name}
        bodies = {
            INFERENCE_SERVICES: inference_service.make_inference_service(serving),
            CONFIG_MAPS: serving_manifests.make_config_map(serving, None),
        }
        if serving.delivery.secret:
            names[cluster_objects.SECRETS] = serving.secret_name
            bodies[cluster_objects.SECRETS] = serving_manifests.make_secret(serving, None)
        if serving.scaling.has_budget:
            names[cluster_objects.BUDGETS] = serving.name
            bodies[cluster_objects.BUDGETS] = inference_service.make_budget(serving, None)
        stored = self._read(names)
        return [(kind, body, stored.get(kind)) for kind, body in bodies.items()]

    def _ask(self, question: Callable[[], Result]) -> Result | None:
        """The answer, or None with a reason when it is a refusal."""
        try:
            return question()
        except errors.UserError as error:
            self.reasons.append(plan_reasons.from_error(error))
            return None

    def _read(self, names: dict[cluster_objects.Kind, str]) -> dict[cluster_objects.Kind, Object]:
        """What of these is there and may be seen."""
        asked = {
            kind: self.reader.submit(partial(self.reader.get_visible, self.place.path(kind, name), kind.resource, name))
            for kind, name in names.items()
        }
        found = {kind: answer.result() for kind, answer in asked.items()}
        return {kind: item for kind, item in found.items() if isinstance(item, dict)}

    def _make_wanted(self, kind: cluster_objects.Kind, body: Object, stored: Object | None) -> plan_objects.Wanted:
        # A ConfigMap is named by its content.
        update = None if kind == CONFIG_MAPS else partial(self._update, kind, body)
        return plan_objects.Wanted(self.place.path(kind), kind.resource, body, stored, update)

    def _update(self, kind: cluster_objects.Kind, body: Object, stored: Object) -> Object | None:
        """The dry run of what would be sent. Raises InvalidInput or Conflict for what is not ours."""
        self.place.check_ours(kind, stored)
        if owners := stored["metadata"].get("ownerReferences"):
            body = {**body, "metadata": {**body["metadata"], "ownerReferences": owners}}
        try:
            return self.place.apply(kind, body, stored, dry_run=True)
        except errors.Conflict as error:
            name = body["metadata"]["name"]
            if others := _list_other_holders(error):
                where = f"{kind.resource} {name} in namespace {self.place.namespace}"
                raise field_owners.conflict_error(where, others) from None
            # What we hold ourselves as an earlier version stored it, the deployer takes over first.
            path, call = self.place.path(kind, name), self.place.call("patch", kind, name)
            return self.reader.kubernetes.patch(path, body, call, dry_run=True)


def _list_other_holders(error: errors.Conflict) -> list[field_owners.FieldConflict]:
    """Of the fields in conflict, those that the deployer would leave to others. Raises another conflict as it is."""
    if "conflicts" not in error.details:
        raise error
    conflicts = [field_owners.FieldConflict(**item) for item in error.details["conflicts"]]
    released = (ownership.AUTOSCALER_MANAGER, f".{'.'.join(field_owners.REPLICAS)}")
    return [
        item
        for item in conflicts
        if item.manager != identity.FIELD_MANAGER and (item.manager.partition(",")[0], item.field) != released
    ]
