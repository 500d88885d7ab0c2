# requirements: flexcore_base
"""Deploys a model as a Ray Serve application, or takes one down, as a Ray job. Shipped as source.

`serve.run` under a name of its own leaves the cluster's other applications alone, however they were deployed (the REST
API would replace the whole set of declared ones). The model is loaded and asked here before a running application is
touched: a model that cannot be served must not take the place of one that can.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from f.flexcore.lib.ray.remote import (
    column_kinds,
    estimators,
    inference_app,
    model_format,
    served_versions,
    shared_storage,
)

Json = dict[str, Any]
JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"
SERVE_MODULES = ("starlette", "uvicorn", "fastapi", "watchfiles")
POLL_INTERVAL_S = 0.3


def deploy(parameters: Json, storage: Json) -> Json:
    """{port, host, versions}: where Serve's proxy listens. Raises what the step is to tell."""
    model, options = parameters["model"], parameters["options"]
    packages = check_packages(model, parameters["requirements"])
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    store.verify(model["uri"], model["files"])
    check_model(model, storage)
    forget_working_folder(packages)
    port, host = start_serve(parameters["http"])
    run_application(parameters["app"], model, storage, options, packages, parameters["timeout_s"])
    return {"port": port, "host": host}


def undeploy(parameters: Json, storage: Json) -> Json:
    """{deleted}: whether there was such an application."""
    forget_working_folder([])
    connect()
    from ray import serve

    known = parameters["app"] in serve.status().applications
    if known:
        serve.delete(parameters["app"])
    return {"deleted": known}


def check_packages(model: Json, requirements: list[str]) -> list[str]:
    """The packages that this job was given for its model, none when the cluster has them. Raises InvalidInput when it
    lacks some, or has versions that cannot serve the model."""
    environment = json.loads(os.environ.get(JOB_CONFIG, "{}")).get("runtime_env", {})
    packages = environment.get("uv") or environment.get("pip") or []
    packages = packages.get("packages", []) if isinstance(packages, dict) else packages
    serve = [item for item in SERVE_MODULES if find_spec(item) is None]
    own = [
        *(["pyarrow"] if find_spec("pyarrow") is None else []),
        *([f"ray[serve]=={version('ray')}"] if serve else []),
    ]
    wrong = [item for item in ("pandas", "pyarrow", model_format.READERS[model["format"]]) if find_spec(item) is None]
    if wrong or serve:
        raise shared_storage.Problem(
            "InvalidInput",
            f"The cluster lacks {', '.join([*wrong, *serve])}",
            "model",
            "Install it on the cluster.",
            missing_packages=[*requirements, *own],
        )
    served_versions.check_versions(model, requirements)
    return list(packages)


def check_model(model: Json, storage: Json) -> None:
    """Loads the model and asks it for its examples."""
    try:
        pipeline = inference_app.load_model(model, storage)
        if model["example"]:
            columns = [column["name"] for column in model["signature"]["inputs"]]
            table = inference_app.make_table(
                [{"name": name, "data": [row.get(name) for row in model["example"]]} for name in columns],
                model["signature"]["inputs"],
            )
            pipeline.predict(table)
    except shared_storage.Problem:
        raise
    except Exception as error:
        line = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise shared_storage.Problem(
            "DataError", f"The model {model['name']} cannot be served: {line}"[:500], "model", "Train it again."
        ) from error


def forget_working_folder(packages: list[str]) -> None:
    """Takes this job's package out of what Ray hands on: the application outlives the job, and the package with it
    would be the only thing that ties it down."""
    config = json.loads(os.environ.get(JOB_CONFIG, "{}"))
    environment = dict(config.get("runtime_env") or {})
    environment.pop("working_dir", None)
    if not any(package.startswith("ray[serve]") for package in packages):
        # Serve itself runs on what the cluster has; the replicas alone get the packages.
        environment.pop("uv", None)
        environment.pop("pip", None)
    os.environ[JOB_CONFIG] = json.dumps({**config, "runtime_env": environment})


def connect() -> None:
    import ray

    ray.init(logging_level=logging.WARNING)


def start_serve(http: Json) -> tuple[int, str]:
    """(port, host) of the running Serve, or of one that is started here on the first free port of `http`."""
    connect()
    from ray import serve
    from ray.serve.context import _get_global_client

    client: Any = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        serve.start(http_options={"host": http["host"], "port": find_free_port(http["host"], http["ports"])})
        client = _get_global_client()
    return int(client.http_config.port), str(client.http_config.host)


def find_free_port(host: str, ports: list[int]) -> int:
    for port in ports:
        with socket.socket() as probe:
            # Without it a port whose last user has just gone counts as taken for a minute; Serve sets it too.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
        return port
    shown = f"port {ports[0]} is" if len(ports) == 1 else f"port {ports[0]} and {len(ports) - 1} others are"
    raise shared_storage.Problem(
        "InvalidInput",
        f"Ray Serve cannot be started: {shown} taken on the head node",
        "cluster.serve_url",
        "Stop what listens there, or name another port in the cluster's serve_url.",
    )


def run_application(app: str, model: Json, storage: Json, options: Json, packages: list[str], timeout_s: float) -> None:
    """Deploys or updates the application and waits until all its replicas run what was asked."""
    from ray import cloudpickle, serve

    by_value: Any = cloudpickle.register_pickle_by_value
    for module in (column_kinds, estimators, inference_app, model_format, shared_storage):
        by_value(module)
    new = app not in serve.status().applications
    environment: Json = {"working_dir": None}
    if packages:
        environment["uv"] = packages
    actor = {"num_cpus": options["cpus"], "memory": options["memory_bytes"], "runtime_env": environment}
    make: Any = serve.deployment
    deployment = make(inference_app.ModelApp).options(
        name="model",
        num_replicas=options["replicas"],
        ray_actor_options={name: value for name, value in actor.items() if value},
        user_config=options["owner"],
        health_check_period_s=5,
        graceful_shutdown_timeout_s=10,
    )
    target = serve.RunTarget(deployment.bind(model, storage), name=app, route_prefix=f"/{app}")
    serve.run_many([target], wait_for_applications_running=False)
    try:
        wait_until_running(app, options, time.monotonic() + timeout_s)
    except shared_storage.Problem:
        if new:
            serve.delete(app)
        raise


def wait_until_running(app: str, options: Json, deadline: float) -> None:
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
            request = f"{options['replicas']} replicas of {options['cpus']:g} CPUs"
            message = f"{app} was not ready in time ({request}): {read_reason(status)}"
            raise shared_storage.Problem(
                "DeadlineExceeded", message, app, "Ask for fewer or smaller replicas, or free CPUs."
            )
        time.sleep(POLL_INTERVAL_S)


RETRY = "Read the replica's log on the Ray dashboard, then deploy again."


def read_reason(status: Any) -> str:
    """The last line that Serve has to say of an application or its deployments."""
    texts = [getattr(item, "message", "") for item in getattr(status, "deployments", {}).values()]
    texts.append(getattr(status, "message", ""))
    lines = [line.strip() for text in texts for line in (text or "").splitlines() if line.strip()]
    print("\n".join(lines), file=sys.stderr)
    return lines[-1][:400] if lines else "Ray Serve gives no reason"
