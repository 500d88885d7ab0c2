# requirements: flexcore_base
"""Which version of a model gets how many of the requests, and what is taken down, as Ray jobs. Shipped as source.

    switch       a version that runs gets its share; what it replaces goes once nobody asks for it any more
    set_traffic  what was, recorded → new weights, read back
    undeploy     the ingress first, then the versions; or one version that gets no requests

All under the head's lease (serve_lease), and safe to repeat.
"""

from __future__ import annotations

import json
import time
from typing import Any

from f.flexcore.lib.ray.remote import serve_apps, serve_changes, serve_lease, shared_storage

Json = dict[str, Any]


def check_application(app: str, model: Json, applications: Json) -> None:
    """Raises InvalidInput when the application is not ours, or serves a model of another name."""
    serve_apps.check_name(app, applications)
    other = serve_apps.read_traffic(applications.get(app) or {}).get("model")
    if other not in (None, model["name"]):
        raise shared_storage.Problem(
            "InvalidInput",
            f"name: the application {app!r} serves the model {other!r}, not {model['name']!r}",
            "name",
            "Choose another name, or undeploy that model first.",
        )


def replaces(options: Json) -> bool:
    return bool(options["weight"] >= 100 and not options["keep_previous"])


def switch(app: str, model: Json, name: str, options: Json) -> tuple[Json, list[str]]:
    """(traffic, versions that are gone for it): gives the version its share, and takes down what it replaces."""
    owner = options["owner"]
    with serve_lease.hold(owner[serve_apps.OWNER]) as lease:
        applications = serve_changes.read_applications()
        check_application(app, model, applications)
        known = serve_apps.read_traffic(applications.get(app) or {})
        state = serve_apps.merge_version(known, model["version"], name, options["weight"])
        state["model"] = model["name"]
        if known.get("changed_by") == owner[serve_apps.OWNER]:
            # A repeat of this very run: what was before it stays what is gone back to.
            state["before"] = known["before"]
        others = [item for item in serve_apps.list_version_apps(app, applications) if item != name]
        replaced: list[str] = []
        if replaces(options):
            replaced = [key for key in state["weights"] if key != model["version"]]
            state |= {"weights": {model["version"]: 100.0}, "applications": {model["version"]: name}, "before": {}}
        serve_changes.route(app, state, owner, lease)
        if replaces(options) and others:
            # They have requests in hand until every replica of the ingress has the new weights.
            serve_changes.wait_until_running(app, "the ingress", time.monotonic() + serve_lease.LEASE_TIMEOUT_S)
            lease.check()
            for item in others:
                serve_changes.delete(item)
    return state, replaced


def set_traffic(parameters: Json, storage: Json) -> Json:
    """{before, traffic}: percent by version. What was is recorded in the store first."""
    app, owner = parameters["app"], parameters["owner"]
    serve_changes.connect([])
    with serve_lease.hold(owner[serve_apps.OWNER]) as lease:
        applications = serve_changes.read_applications()
        serve_apps.check_name(app, applications)
        known = serve_apps.read_traffic(applications.get(app) or {})
        if not known:
            raise shared_storage.Problem(
                "NotFound", f"There is no application {app!r} with versions of a model", "name", "Deploy a model first."
            )
        if known["changed_by"] == owner[serve_apps.OWNER]:
            return {"before": known["before"], "traffic": known["weights"]}
        weights = choose_weights(parameters, known)
        store = shared_storage.RemoteStore(storage)
        record = {"application": app, "before": known["weights"], "after": weights, "at": time.time()}
        store.write_file(f"{storage['folder']}/traffic.json", json.dumps(record).encode())
        state = {**known, "before": known["weights"], "weights": weights}
        serve_changes.route(app, state, {**serve_apps.read_config(applications[app]), **owner}, lease)
        serve_changes.wait_until_running(app, "the ingress", time.monotonic() + parameters["timeout_s"])
    return {"before": known["weights"], "traffic": weights}


def choose_weights(parameters: Json, known: Json) -> dict[str, float]:
    """Percent by version. Raises InvalidInput, and Conflict when the shares are not of `from_revision` any more."""
    serve_apps.check_revision(parameters["app"], known, parameters["from_revision"])
    versions = sorted(known["applications"])
    if not parameters["rollback"]:
        return serve_apps.check_weights(parameters["weights"], versions, parameters["app"])
    if what := serve_apps.find_no_way_back(known):
        raise shared_storage.Problem(
            "InvalidInput",
            f"rollback: {parameters['app']} has nothing to go back to: {what}",
            "rollback",
            "Deploy the version that is to answer.",
        )
    return serve_apps.check_weights(known["before"], versions, parameters["app"])


def undeploy(parameters: Json, storage: Json) -> Json:
    """{deleted}: whether there was such an application, or such a version of it."""
    app, owner = parameters["app"], parameters["owner"]
    serve_changes.connect([])
    with serve_lease.hold(owner[serve_apps.OWNER]) as lease:
        applications = serve_changes.read_applications()
        serve_apps.check_name(app, applications)
        if parameters.get("version"):
            return {"deleted": undeploy_version(app, parameters["version"], owner, applications, lease)}
        names = [app, *serve_apps.list_version_apps(app, applications)]
        lease.check()
        return {"deleted": any([serve_changes.delete(name) for name in names])}


def undeploy_version(app: str, number: str, owner: Json, applications: Json, lease: serve_lease.Lease) -> bool:
    known = serve_apps.read_traffic(applications.get(app) or {})
    share = (known.get("weights") or {}).get(number, 0)
    if share:
        only = len(known["applications"]) == 1
        raise shared_storage.Problem(
            "InvalidInput",
            f"version: {app} gives {share:g} % of its requests to version {number!r}",
            "version",
            "Leave version empty to take the application down."
            if only
            else "Set the traffic to another version first.",
        )
    if number in known.get("applications", {}):
        kept = {key: {k: v for k, v in known[key].items() if k != number} for key in ("applications", "weights")}
        serve_changes.route(app, {**known, **kept}, {**serve_apps.read_config(applications[app]), **owner}, lease)
        serve_changes.wait_until_running(app, "the ingress", time.monotonic() + serve_lease.LEASE_TIMEOUT_S)
    lease.check()
    return serve_changes.delete(serve_apps.name_version_app(app, number))
