# requirements: flexcore_base
"""What Ray Serve says of its applications, read for the question whose they are. Pure; shipped as source.

    NAME              the ingress, which owns the route /NAME and gives each version its share of the requests
    NAME--<version>   one version of the model, without a route of its own

Both carry their owner's labels in the `user_config` of a deployment. An application NAME of an older release has one
deployment, the model itself, and no ingress.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]
OWNER = "flexcore/key"
VERSION = "flexcore/model-version"
MODEL = "flexcore/model"
TRAFFIC = "flexcore/traffic"
MODEL_DEPLOYMENT, INGRESS_DEPLOYMENT = "model", "traffic"
# What may stand in an application's name as it is.
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,60}")


def name_version_app(app: str, version: str) -> str:
    """The name of the application of one version."""
    if PLAIN.fullmatch(version):
        return f"{app}--{version}"
    return f"{app}--{hashlib.sha256(version.encode()).hexdigest()[:12]}"


def read_config(application: Json) -> Json:
    """The `user_config` of ours in an application's details; {} when it is not ours."""
    for item in (application.get("deployments") or {}).values():
        config = (item.get("deployment_config") or {}).get("user_config")
        if isinstance(config, dict) and OWNER in config:
            return config
    return {}


def read_traffic(application: Json) -> Json:
    """{weights, before, applications, model, token, changed_by} of an ingress; {} when there is none."""
    return dict(read_config(application).get(TRAFFIC) or {})


def check_name(app: str, applications: Json) -> bool:
    """Whether the application is there already. Raises InvalidInput when its name, its route or the name of one of its
    versions belongs to somebody else's."""
    for name, known in applications.items():
        if name != app and known.get("route_prefix") == f"/{app}":
            raise shared_storage.Problem(
                "InvalidInput",
                f"name: the route /{app} belongs to the application {name!r}",
                "name",
                "Choose another name.",
            )
    for name in (item for item in applications if item == app or item.startswith(f"{app}--")):
        if not read_config(applications[name]):
            raise shared_storage.Problem(
                "InvalidInput",
                f"name: the application {name!r} exists already, and flexcore did not deploy it",
                "name",
                "Choose another name.",
            )
    return app in applications


def list_version_apps(app: str, applications: Json) -> list[str]:
    """The applications of ours that hold versions of `app`, with traffic or without."""
    return sorted(name for name in applications if name.startswith(f"{app}--") and read_config(applications[name]))


def merge_version(traffic: Json, version: str, app_name: str, weight: float) -> Json:
    """The traffic with a new version that gets `weight` percent; the others keep their proportions among the rest."""
    others = {name: share for name, share in (traffic.get("weights") or {}).items() if name != version}
    total = sum(others.values())
    if not total:
        weight = 100.0
    weights = {name: (100.0 - weight) * share / total if total else 0.0 for name, share in others.items()}
    apps = {name: item for name, item in (traffic.get("applications") or {}).items() if name != version}
    return {
        **traffic,
        "weights": {**weights, version: float(weight)},
        "before": dict(traffic.get("weights") or {}),
        "applications": {**apps, version: app_name},
    }


def read_revision(traffic: Json) -> int | None:
    """What rises with every change of the shares: the token of the lease under which they were changed."""
    return int(traffic["token"]) if traffic.get("token") else None


def check_revision(app: str, traffic: Json, revision: int) -> None:
    """Raises Conflict when the shares are not of `revision` any more; 0 means any. To go back twice would be to go
    forward: what was left is itself the state before."""
    if revision and read_revision(traffic) != revision:
        shares = ", ".join(f"{name} {share:g} %" for name, share in sorted(traffic["weights"].items()) if share)
        raise shared_storage.Problem(
            "Conflict",
            f"The shares of {app} were changed since revision {revision}: they are {shares}",
            "from_revision",
            "Nothing was changed. Look at them as they are now, and change them again if they still have to.",
        )


def find_no_way_back(traffic: Json) -> str:
    """Why the shares cannot be again what they were before their last change; "" when they can."""
    before = traffic.get("before") or {}
    gone = [name for name, share in before.items() if share and name not in traffic["applications"]]
    if gone:
        return f"version {gone[0]!r} is not deployed any more"
    return "" if before else "its weights were never changed"


def check_weights(weights: Any, versions: list[str], app: str) -> dict[str, float]:
    """Percent by version, summing up to 100. Raises InvalidInput for a version that is not there."""
    unknown = [name for name in weights if name not in versions]
    if unknown:
        raise shared_storage.Problem(
            "InvalidInput",
            f"weights: {app} has no version {unknown[0]!r} (deployed: {', '.join(versions)})",
            "weights",
            "Name deployed versions, or deploy that one first.",
        )
    total = sum(float(value) for value in weights.values())
    return {name: 100.0 * float(weights.get(name, 0)) / total for name in versions}
