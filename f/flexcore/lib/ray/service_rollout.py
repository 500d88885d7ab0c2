# requirements: flexcore_base
"""A model on a RayService, from its manifest to an endpoint that has answered.

It says what shall be, and makes it so: running it again updates, and a repeat after a worker's death goes on where the
first one was. A version that cannot be deployed is taken back; those before it answer on.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from f.flexcore.lib.core import contracts, errors, operation, resources, units
from f.flexcore.lib.kubernetes_api import transport
from f.flexcore.lib.ray import (
    cluster_spec,
    job_inputs,
    kubernetes_session,
    ray_service,
    serve_job,
    service_gateway,
    service_spec,
    smoke_test,
)
from f.flexcore.lib.ray.remote import serve_apps
from f.flexcore.lib.storage import object_store

# The ingress has new weights when it says so: the operator brings them within seconds.
POLL_INTERVAL_S = 0.5
Object = dict[str, Any]
# request: service_deployment.ServiceRequest, which is imported without this module.
Invocation = operation.Invocation[Any, resources.RayCluster]


def plan(invocation: Invocation) -> contracts.StepResult:
    """Whether the deployment would be an update. Raises InvalidInput for a RayService of another's, NotFound without
    KubeRay."""
    request = invocation.request
    with kubernetes_session.open_session(invocation.service, invocation.settings) as session:
        name = request.name or job_inputs.parse_model(request.model, invocation.settings).name
        service = ray_service.RayService(session, name)
        service.check_api()
        is_update = service.read_ours() is not None
    data = {"ray_service": name, "namespace": session.namespace, "update": is_update}
    return contracts.StepResult(success=True, runtime="ray", execution_key=invocation.key.value, attempt=1, data=data)


def execute(invocation: Invocation) -> Object:
    request, settings = invocation.request, invocation.settings
    model = job_inputs.parse_model(request.model, settings)
    store = object_store.Store(settings)
    # Pods would find it out minutes later.
    store.verify(model)
    storage = job_inputs.storage_access(settings, store, invocation.key)
    labels = invocation.key.labels(1)
    until = time.monotonic() + request.timeout_s
    with kubernetes_session.open_session(invocation.service, settings) as session:
        service = ray_service.RayService(session, request.name or model.name)
        service.check_api()
        parameters = job_inputs.model_parameters(model, settings)
        entry = version_entry(request, parameters, storage)
        before = service.read_ours()
        spec = request.spec or (None if before else cluster_spec.ClusterSpec())
        gateway = "" if before else service.find_gateway(request.gateway_class)
        if before and request.gateway_class and not service_spec.is_stepwise(before):
            print(f"The RayService {service.name} keeps its way of upgrades: gateway_class counts when it is made")
        stored = service.apply(lambda state: with_version(state, service.name, model, entry), labels, spec, gateway)
        service.complete(stored, labels, storage, spec or find_default_spec(service.name, before))
        try:
            proof = prove(service, model, entry, request, labels, until)
        except errors.FlexcoreError as error:
            undo(service, model.version, before, labels, error)
            raise
        url = endpoint_url(invocation.service, session.namespace, service.name, proof.gateway_url)
    data = {"smoke": proof.smoke, "traffic": proof.weights, "replaced": proof.replaced, "update": before is not None}
    remote = contracts.Remote(kind="RayService", name=service.name, uid=stored["metadata"]["uid"])
    return contracts.StepResult(
        success=True,
        runtime="ray",
        execution_key=invocation.key.value,
        attempt=1,
        data={**data, "namespace": session.namespace},
        output=contracts.EndpointManifest(uri=url, url=url, model_name=model.name, model_version=model.version),
        remote=remote,
    ).plain()


def find_default_spec(name: str, service: Object | None) -> cluster_spec.ClusterSpec | None:
    """The default spec where a RayService on trial was made from it: who made it may have been cut short before its
    NetworkPolicy. None keeps what there is."""
    default = cluster_spec.ClusterSpec()
    if service is None or not service_spec.is_on_trial(service):
        return None
    notes = service["metadata"]["annotations"]
    return default if notes.get(service_spec.SPEC_HASH) == service_spec.hash_spec(name, default) else None


@dataclass(frozen=True, slots=True)
class Proof:
    """That a version answers, by what it took."""

    smoke: Object
    weights: Object
    replaced: list[str]
    gateway_url: str


def prove(
    service: ray_service.RayService,
    model: contracts.ModelManifest,
    entry: Object,
    request: Any,
    labels: dict[str, str],
    until: float,
) -> Proof:
    """Waits for the version, gives it its share, and asks it. What has answered stays for good."""
    app = serve_apps.name_version_app(service.name, model.version)
    service.wait_until_running(app, until)
    service.wait_until_running(service.name, until)
    gateway_url = service_gateway.settle(service)
    if gateway_url:
        service_gateway.wait_until_moved(service, until)
    state, replaced = shift(service, model, entry, request, labels, until)
    smoke = ask(service.session, service, model, is_alone=len(state["weights"]) == 1)
    service.keep()
    return Proof(smoke, state["weights"], replaced, gateway_url)


def undo(
    service: ray_service.RayService, version: str, before: Object | None, labels: dict[str, str], error: Exception
) -> None:
    """Takes back what has never answered: the version, or a RayService that has no other. Lost contact is no verdict on
    a RayService: it stays on trial, and a repeat goes on."""
    if before and version not in service_spec.read_state(before).get("versions", {}):
        take_back(service, version, labels)
    elif not isinstance(error, errors.TransientError):
        with suppress(errors.FlexcoreError):
            if (is_gone := service.delete_on_trial(version)) is not None:
                how = "removed" if is_gone else "being removed"
                print(f"The RayService {service.name} has never answered and is {how}")


def version_entry(request: Any, model: Object, storage: Object) -> Object:
    """What an application of one version is built from; it holds no key of the store."""
    return {
        "model": model,
        "storage": {name: storage[name] for name in ("uri", "endpoint_url", "region")},
        "options": {
            "replicas": request.replicas,
            "autoscaling": serve_job.scaling_config(request.autoscaling),
            "cpus": request.cpus,
            "memory_bytes": int(request.memory_gib * units.GIB),
            "owner": {"app.kubernetes.io/managed-by": "flexcore", serve_apps.OWNER: "ray-service"},
        },
        # The image has what reads the model: a pod installs nothing when it starts.
        "packages": [],
    }


def with_version(state: Object, name: str, model: contracts.ModelManifest, entry: Object) -> Object:
    """The state with the version beside the others, without requests yet. Raises InvalidInput for another model."""
    if state and state.get("model") != model.name:
        raise errors.InvalidInput(
            f"name: the RayService {name!r} serves the model {state.get('model')!r}, not {model.name!r}",
            subject="name",
            remedy="Choose another name, or undeploy that model first.",
        )
    return service_spec.add_quietly({"app": name, **state, "model": model.name}, model.version, entry)


def take_back(service: ray_service.RayService, version: str, labels: dict[str, str]) -> None:
    """Removes a version that never answered and has no requests yet; a failure to do so says nothing, since why the
    version failed matters more."""

    def without(state: Object) -> Object:
        return service_spec.keep_versions(state, [name for name in state["versions"] if name != version])

    with suppress(errors.FlexcoreError):
        if service_spec.read_state(service.read_ours()).get("weights", {}).get(version):
            return
        service.apply(without, labels, None)
        print(f"Version {version} is taken back; the versions before it answer on")


def shift(
    service: ray_service.RayService,
    model: contracts.ModelManifest,
    entry: Object,
    request: Any,
    labels: dict[str, str],
    until: float,
) -> tuple[Object, list[str]]:
    """(state, versions that are gone): gives the version its share, waits until it has it, then takes down what it
    replaces."""

    def weigh(state: Object) -> Object:
        merged = service_spec.add_version(state, model.version, entry, request.weight)
        is_repeat = state["weights"] == merged["weights"]
        return {**merged, "before": state.get("before") or {}} if is_repeat else merged

    state = service_spec.read_state(service.apply(weigh, labels, None))
    wait_for_weights(service, state, until)
    replaced: list[str] = []
    if request.weight == 100 and not request.keep_previous:
        replaced = [name for name in state["versions"] if name != model.version]
    if replaced:
        kept = service.apply(
            lambda now: {**service_spec.keep_versions(now, [model.version]), "before": {}}, labels, None
        )
        state = service_spec.read_state(kept)
    return state, replaced


def wait_for_weights(service: ray_service.RayService, state: Object, until: float) -> None:
    """Returns once the ingress itself says that it has them."""
    wanted, seen = dict(state["weights"]), None
    with open_client(service.session) as caller:
        while time.monotonic() < until:
            with suppress(httpx.HTTPError, ValueError):
                seen = caller.get(f"{caller_url(service)}/v2/traffic", timeout=smoke_test.REQUEST_TIMEOUT_S).json()
                if seen.get("weights") == wanted:
                    return
            time.sleep(POLL_INTERVAL_S)
    raise errors.DeadlineExceeded(
        f"The ingress of {service.name} does not have the new weights in time (it says {seen})",
        subject="timeout_s",
        remedy="Run the step again; see the RayService's events when it stays so.",
    )


def ask(
    session: kubernetes_session.Session,
    service: ray_service.RayService,
    model: contracts.ModelManifest,
    *,
    is_alone: bool,
) -> Object:
    with open_client(session) as caller:
        return smoke_test.run_smoke_test(caller_url(service), model, caller, is_alone=is_alone)


def open_client(session: kubernetes_session.Session) -> httpx.Client:
    """Calls Ray Serve: by its Service within the cluster, else through the API server's proxy."""
    access = session.kubernetes.access
    if session.is_inside:
        return httpx.Client(trust_env=False)
    verify = transport.make_tls_context(access) if access.server.startswith("https://") else False
    bearer = access.bearer()
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    return httpx.Client(verify=verify, headers=headers, proxy=access.proxy or None, trust_env=False)


def caller_url(service: ray_service.RayService) -> str:
    target = service.serving_service()
    if service.session.is_inside:
        return f"http://{target}.{service.namespace}.svc:{service_spec.SERVE_PORT}/{service.name}"
    server = service.kubernetes.access.server
    port = service_spec.SERVE_PORT
    return f"{server}/api/v1/namespaces/{service.namespace}/services/{target}:{port}/proxy/{service.name}"


def endpoint_url(cluster: resources.RayCluster, namespace: str, name: str, gateway_url: str = "") -> str:
    if cluster.serve_url or gateway_url:
        return f"{(cluster.serve_url or gateway_url).rstrip('/')}/{name}"
    return f"http://{service_spec.serve_service_name(name)}.{namespace}.svc:{service_spec.SERVE_PORT}/{name}"
