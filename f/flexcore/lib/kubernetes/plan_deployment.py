# requirements: flexcore_kubernetes
"""The plan of a deployment: what kubernetes/deploy_model would make of a model server."""

from __future__ import annotations

from functools import partial
from typing import Any

from f.flexcore.lib.core import contracts, errors, operation, resources
from f.flexcore.lib.kubernetes import (
    connection,
    model_deployer,
    plan_objects,
    plan_price,
    plan_work,
    serving_manifests,
)

Object = dict[str, Any]


def plan(
    invocation: operation.Invocation[Any, resources.KubernetesCluster],
    session: connection.Session,
    serving: serving_manifests.Serving,
    notes: list[str],
) -> contracts.StepResult:
    """notes: of what the serving was made from. Raises Unreachable, Forbidden or NotFound."""
    work = plan_work.Work(
        operation="deploy",
        wanted=list_wanted(serving),
        copies=serving.replicas,
        prices=plan_price.read_prices(invocation.service, invocation.settings),
        notes=notes,
    )
    return plan_work.plan(session.kubernetes, session.namespace, work, invocation.key)


def list_wanted(serving: serving_manifests.Serving) -> list[plan_objects.Wanted]:
    """The objects of a deployed model, the Deployment first. Its uid is not known where it is not there yet."""
    owner = {"metadata": {"uid": plan_objects.NO_UID}}
    bodies = [
        (model_deployer.DEPLOYMENTS, serving_manifests.make_deployment(serving)),
        (model_deployer.CONFIG_MAPS, serving_manifests.make_config_map(serving, owner)),
        (model_deployer.SERVICES, serving_manifests.make_service(serving, owner)),
    ]
    if serving.delivery.secret:
        bodies.append((model_deployer.SECRETS, serving_manifests.make_secret(serving, owner)))
    return [_make_wanted(kind, body, serving.namespace) for kind, body in bodies]


def _make_wanted(kind: model_deployer.Kind, body: Object, namespace: str) -> plan_objects.Wanted:
    path = f"{kind.prefix}/namespaces/{namespace}/{kind.plural}"
    return plan_objects.Wanted(path, kind.resource, body, partial(_update, body, kind, namespace))


def _update(body: Object, kind: model_deployer.Kind, namespace: str, stored: Object) -> Object:
    """What would be sent where one of that name is there. Raises InvalidInput for one that is not ours."""
    if not serving_manifests.is_ours(stored):
        raise errors.InvalidInput(
            f"{kind.resource} {body['metadata']['name']} exists in namespace {namespace} and was not made by flexcore",
            subject="name",
            remedy="Choose another name or namespace, or remove it.",
        )
    merged = serving_manifests.merge_into_stored(body, stored)
    # Who owns it is known only when the owner is there.
    if stored["metadata"].get("ownerReferences"):
        merged["metadata"]["ownerReferences"] = stored["metadata"]["ownerReferences"]
    return merged
