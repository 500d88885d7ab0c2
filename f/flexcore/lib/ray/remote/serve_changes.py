# requirements: flexcore_base
"""Changes of a head's Serve applications by name, each read back afterwards. Shipped as source.

`serve.run_many` and `serve.delete` touch the named applications alone, however the others were deployed; the REST API's
PUT would replace the whole set of declared ones and has no precondition. Callers hold the lease (see serve_lease).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import sys
import time
from math import ceil
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import inference_app, serve_apps, serve_lease, shared_storage, traffic
from f.flexcore.lib.serving import column_kinds, estimators, model_format, open_inference, problems

Json = dict[str, Any]
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# What a model's replica runs.
MODEL_CODE = [problems, column_kinds, estimators, model_format, open_inference, inference_app, shared_storage]
POLL_INTERVAL_S = 0.3
# One replica of the ingress handles what some models answer; each of those computes, the ingress hands on.
MODELS_PER_INGRESS = 4
# The ingress only waits for models: how many requests wait is theirs to limit.
MAX_INGRESS_REQUESTS = 1000
# A model that cannot be loaded cannot be loaded again; one more try is for a store that was away.
MAX_STARTS = 2
# A line for each request would cost as much as the hop; metrics count them.
QUIET = {"enable_access_log": False}
RETRY = "Read the replica's log on the Ray dashboard, then deploy again."


def connect(packages: list[str]) -> None:
    """Joins the cluster. packages: what this job was given for its model.

    This job's package is taken out of what Ray hands on: the application outlives the job, and the package would be the
    only thing that ties it down."""
    import ray

    config = json.loads(os.environ.get(JOB_CONFIG, "{}"))
    environment = dict(config.get("runtime_env") or {})
    environment.pop("working_dir", None)
    if not any(package.startswith("ray[serve]") for package in packages):
        # Serve itself runs on what the cluster has; the replicas alone get the packages.
        environment.pop("uv", None)
        environment.pop("pip", None)
    os.environ[JOB_CONFIG] = json.dumps({**config, "runtime_env": environment})
    # The replicas' own logs stay with them: those of a busy model would drown what this job says.
    ray.init(logging_level=logging.WARNING, log_to_driver=False)


def read_applications() -> Json:
    """Name → details, as the controller has them now."""
    from ray.serve.context import _get_global_client

    client: Any = _get_global_client(raise_if_no_controller_running=False)
    return dict((client.get_serve_details().get("applications") or {}) if client else {})


def run_version(name: str, model: Json, storage: Json, options: Json, packages: list[str], fresh: str) -> None:
    """Deploys or updates the application of one version; does not wait for it. fresh: "" or what makes its replicas
    new ones."""
    environment: Json = {"working_dir": None, **({"uv": packages} if packages else {})}
    version = hash_code(MODEL_CODE, model, storage["uri"], packages, fresh)
    deployment = make_deployment(inference_app.ModelApp, version)
    run(configure_version(deployment, model, options, environment).bind(model, storage), name, None)


def configure_version(deployment: Any, model: Json, options: Json, environment: Json) -> Any:
    actor = {"num_cpus": options["cpus"], "runtime_env": environment}
    actor |= {"memory": options["memory_bytes"]} if options["memory_bytes"] else {}
    return deployment.options(
        name=serve_apps.MODEL_DEPLOYMENT,
        ray_actor_options=actor,
        user_config={**options["owner"], serve_apps.MODEL: model["name"], serve_apps.VERSION: model["version"]},
        logging_config=QUIET,
        max_constructor_retry_count=MAX_STARTS,
        health_check_period_s=5,
        graceful_shutdown_timeout_s=10,
        **scale_options(options),
    )


def scale_options(options: Json) -> Json:
    """Of a deployment: a fixed number of replicas, or bounds between which Serve chooses."""
    scaling = options.get("autoscaling")
    return {"autoscaling_config": scaling} if scaling else {"num_replicas": options["replicas"]}


def run_ingress(app: str, state: Json, owner: Json, replicas: int) -> None:
    """Deploys the ingress, or gives the one that runs new weights without a restart."""
    deployment = make_deployment(traffic.Traffic, hash_code([traffic, serve_apps]))
    config = {**owner, serve_apps.TRAFFIC: state}
    run(configure_ingress(deployment, config, replicas, {"working_dir": None}).bind(), app, f"/{app}")


def configure_ingress(deployment: Any, config: Json | None, replicas: int, environment: Json) -> Any:
    """replicas: the most that the versions may have together."""
    return deployment.options(
        name=serve_apps.INGRESS_DEPLOYMENT,
        ray_actor_options={"num_cpus": 0, "runtime_env": environment},
        user_config=config,
        num_replicas=max(1, ceil(replicas / MODELS_PER_INGRESS)),
        max_ongoing_requests=MAX_INGRESS_REQUESTS,
        logging_config=QUIET,
        health_check_period_s=5,
        graceful_shutdown_timeout_s=10,
    )


def make_deployment(app_class: type, version: str) -> Any:
    """A deployment whose replicas are replaced when `version` changes, and only then: Serve would make up a version
    for each deployment, and restart the replicas for new weights."""
    from ray import serve

    make: Any = serve.deployment
    return make(app_class).options(_internal=True, version=version)


def run(bound: Any, name: str, route_prefix: str | None) -> None:
    from ray import cloudpickle, serve

    by_value: Any = cloudpickle.register_pickle_by_value
    for module in (*MODEL_CODE, traffic, serve_apps):
        by_value(module)
    target = serve.RunTarget(bound, name=name, route_prefix=route_prefix)
    serve.run_many([target], wait_for_applications_running=False)


def hash_code(modules: list[Any], *parts: Any) -> str:
    sources = [Path(str(importlib.import_module(module.__name__).__file__)).read_text() for module in modules]
    return hashlib.sha256(json.dumps([sources, *parts], sort_keys=True).encode()).hexdigest()[:20]


def delete(name: str) -> bool:
    """Whether there was such an application; returns when it is gone."""
    from ray import serve

    if name not in read_applications():
        return False
    serve.delete(name)
    return True


def route(app: str, state: Json, owner: Json, lease: serve_lease.Lease) -> None:
    """Gives the ingress the weights of `state`. Raises Unavailable when they did not stay: somebody changed them
    without the lease."""
    state = {**state, "token": lease.token, "changed_by": owner[serve_apps.OWNER]}
    lease.check()
    run_ingress(app, state, owner, count_replicas(state))
    applications = read_applications()
    if serve_apps.read_traffic(applications.get(app) or {}) != state:
        deadline = time.monotonic() + serve_lease.LEASE_TTL_S
        while serve_apps.read_traffic(read_applications().get(app) or {}) != state:
            if time.monotonic() > deadline:
                raise shared_storage.Problem(
                    "Unavailable", f"The application {app} was changed by another meanwhile", app, "Run the step again."
                )
            time.sleep(POLL_INTERVAL_S)


def count_replicas(state: Json) -> int:
    """The most replicas that the versions may have together."""
    applications, count = read_applications(), 0
    for name in state["applications"].values():
        for item in (applications.get(name, {}).get("deployments") or {}).values():
            config = item.get("deployment_config") or {}
            bounds = config.get("autoscaling_config") or {}
            replicas = bounds.get("max_replicas") or config.get("num_replicas") or 1
            count += replicas if isinstance(replicas, int) else 1
    return count


def wait_until_running(app: str, wanted: str, deadline: float) -> None:
    """Returns when all replicas of an application run what was asked. wanted: those, in words."""
    from ray import serve

    while True:
        status = serve.status().applications.get(app)
        state = str(getattr(status, "status", "")).rsplit(".", 1)[-1]
        if state == "RUNNING":
            return
        if state in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise shared_storage.Problem(
                "ExecutionFailed", f"Ray Serve could not deploy {app}: {read_reason(status)}", app, RETRY
            )
        if time.monotonic() > deadline:
            message = f"{app} was not ready in time ({wanted}): {read_reason(status)}"
            raise shared_storage.Problem(
                "DeadlineExceeded", message, app, "Ask for fewer or smaller replicas, or free CPUs."
            )
        time.sleep(POLL_INTERVAL_S)


def read_reason(status: Any) -> str:
    """The last line that Serve has to say of an application or its deployments."""
    texts = [getattr(item, "message", "") for item in getattr(status, "deployments", {}).values()]
    texts.append(getattr(status, "message", ""))
    lines = [line.strip() for text in texts for line in (text or "").splitlines() if line.strip()]
    print("\n".join(lines), file=sys.stderr)
    return lines[-1][:400] if lines else "Ray Serve gives no reason"
