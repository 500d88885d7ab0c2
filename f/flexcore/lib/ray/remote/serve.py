# requirements: flexcore_base
"""Deploys a version of a model as a Ray Serve application, as a Ray job. Shipped as source.

load and ask the model here → its application, waited for → its share of the requests → the versions that it replaces go

A version that cannot be served never takes the place of one that can. Every change is one by name, under the head's
lease (serve_changes, serve_lease).
"""

from __future__ import annotations

import json
import os
import socket
import time
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from f.flexcore.lib.ray.remote import (
    inference_app,
    serve_apps,
    serve_changes,
    serve_lease,
    serve_traffic,
    served_versions,
    shared_storage,
)
from f.flexcore.lib.serving import model_format, open_inference

Json = dict[str, Any]
SERVE_MODULES = ("starlette", "uvicorn", "fastapi", "watchfiles")


def deploy(parameters: Json, storage: Json) -> Json:
    """{port, host, application, traffic, replaced}: where Serve's proxy listens, and what each version gets. Raises
    what the step is to tell."""
    model, options, app = parameters["model"], parameters["options"], parameters["app"]
    packages = check_packages(model, parameters["requirements"])
    store = shared_storage.RemoteStore(storage)
    store.check_shared()
    store.verify(model["uri"], model["files"])
    check_model(model, storage)
    serve_changes.connect(packages)
    deadline, owner = time.monotonic() + parameters["timeout_s"], options["owner"]
    name = serve_apps.name_version_app(app, model["version"])
    with serve_lease.hold(owner[serve_apps.OWNER]) as lease:
        port, host = start_serve(parameters["http"])
        applications = serve_changes.read_applications()
        serve_traffic.check_application(app, model, applications)
        known = applications.get(name)
        is_update = app in applications and serve_traffic.replaces(options)
        is_in_place = is_update and not has_room(options, known is not None)
        lease.check()
        fresh = "" if known is None or known.get("status") == "RUNNING" else str(lease.token)
        serve_changes.run_version(name, model, storage, options, packages, fresh)
    if is_in_place:
        print("There is no room for both versions: requests wait until the new one is ready")
        serve_traffic.switch(app, model, name, options)
    try:
        serve_changes.wait_until_running(name, describe_replicas(options), deadline)
    except shared_storage.Problem:
        if known is None and not is_in_place:
            with serve_lease.hold(owner[serve_apps.OWNER]):
                serve_changes.delete(name)
        raise
    state, replaced = serve_traffic.switch(app, model, name, options)
    serve_changes.wait_until_running(app, "the ingress", deadline)
    return {"port": port, "host": host, "application": name, "traffic": state["weights"], "replaced": replaced}


def has_room(options: Json, is_there: bool) -> bool:
    """Whether the replicas fit beside what runs now."""
    import ray

    count = (options.get("autoscaling") or {}).get("min_replicas", options["replicas"])
    available: Any = ray.available_resources
    return is_there or bool(available().get("CPU", 0) >= count * options["cpus"])


def describe_replicas(options: Json) -> str:
    scaling = options.get("autoscaling")
    count = f"{scaling['min_replicas']} to {scaling['max_replicas']}" if scaling else options["replicas"]
    return f"{count} replicas of {options['cpus']:g} CPUs"


def check_packages(model: Json, requirements: list[str]) -> list[str]:
    """The packages that this job was given for its model, none when the cluster has them. Raises InvalidInput when it
    lacks some, or has versions that cannot serve the model."""
    environment = json.loads(os.environ.get(serve_changes.JOB_CONFIG, "{}")).get("runtime_env", {})
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
            table = open_inference.make_table(
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


def start_serve(http: Json) -> tuple[int, str]:
    """(port, host) of the running Serve, or of one that is started here on the first free port of `http`."""
    from ray import serve
    from ray.serve.context import _get_global_client

    client: Any = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        serve.start(http_options={"host": http["host"], "port": find_free_port(http["host"], http["ports"])})
        client = _get_global_client()
    return int(client.http_config.port), str(client.http_config.host)


def find_free_port(host: str, ports: list[int]) -> int:
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
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
