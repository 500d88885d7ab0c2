# requirements: flexcore_base
"""The RayJobs of one namespace that carry our labels: what reconcile stops, deletes and resumes flows for.

    running    also while a queue holds it back; past its deadline it is stopped, whatever KubeRay does
    finished   it has ended; or its flow waits suspended, and its cluster is there with no job on it: whoever collects
               submits it
Stopped and deleted is one: the RayJob goes, its cluster and the Secret with it.
"""

from __future__ import annotations

from typing import Any

from f.flexcore.lib.core import errors, identity, remote_objects, resources
from f.flexcore.lib.ray import (
    connection,
    dashboard,
    job_diagnosis,
    kubernetes_session,
    ray_job_api,
    ray_job_manifest,
    ray_job_status,
)

KIND = "kuberay_job"
# A step that submits deferred work does so within seconds; a cluster that has waited longer waits for whoever collects.
SUBMISSION_GRACE_S = 60.0
Object = dict[str, Any]


class RayJobObjects:
    """`place` is the resource's path. Raises the errors of Kubernetes and of Windmill, which has the resource."""

    def __init__(self, place: str, cluster: resources.RayCluster, namespace: str = "") -> None:
        self.place, self.cluster = place, cluster
        self.settings = resources.Settings(namespace=namespace) if namespace else None

    def find(self) -> list[remote_objects.RemoteObject]:
        with kubernetes_session.open_session(self.cluster, self.settings) as session:
            api = ray_job_api.RayJobApi(session)
            try:
                api.check_served()
            except errors.NotFound:
                return []
            return [self._parse(api, stored) for stored in api.list_ours()]

    def stop(self, item: remote_objects.RemoteObject) -> str:
        """What became of it."""
        with kubernetes_session.open_session(self.cluster, self.settings) as session:
            api = ray_job_api.RayJobApi(session)
            now = self._find_again(api, item)
            if now is None or now.state == "leaving":
                return "had gone" if now is None else "goes already"
            if now.state == "finished" and item.state != "finished":
                return "had finished"
            api.delete(item.name, item.uid)
        return "deleted"

    def delete(self, item: remote_objects.RemoteObject) -> str:
        return self.stop(item)

    def _find_again(
        self, api: ray_job_api.RayJobApi, item: remote_objects.RemoteObject
    ) -> remote_objects.RemoteObject | None:
        """The RayJob as it is now; None when it is gone or another one has its name."""
        stored = api.get(item.name)
        now = self._parse(api, stored) if stored else None
        return now if now and (now.uid, now.owner) == (item.uid, item.owner) else None

    def _parse(self, api: ray_job_api.RayJobApi, stored: Object) -> remote_objects.RemoteObject:
        metadata, state = stored["metadata"], ray_job_status.parse_ray_job(stored)
        annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
        after, deadline = (
            str(annotations.get(name, "")) for name in (ray_job_manifest.DELETE_AFTER, ray_job_manifest.DEADLINE)
        )
        is_deferred = labels.get(identity.DEFERRED) == "true"
        return remote_objects.RemoteObject(
            runtime="ray",
            place=self.place,
            kind=KIND,
            name=state.name,
            uid=state.uid,
            state=self._find_state(api, state, stored, is_deferred),
            labels=labels,
            namespace=api.namespace,
            delete_after=float(after) if after.isdigit() else None,
            deadline=float(deadline) if deadline.isdigit() else None,
        )

    def _find_state(
        self, api: ray_job_api.RayJobApi, state: ray_job_status.RayJobState, stored: Object, is_deferred: bool
    ) -> remote_objects.State:
        if state.is_leaving:
            return "leaving"
        if state.is_ended:
            return "finished"
        if state.phase != "ready" or state.job_status or not is_deferred:
            return "running"
        # KubeRay knows of no job there: none was submitted yet, or it cannot see it for want of the token.
        if api.now() - (state.started or api.now()) < SUBMISSION_GRACE_S:
            return "running"
        return "finished" if self._is_idle(state) else "running"

    def _is_idle(self, state: ray_job_status.RayJobState) -> bool:
        """Whether Ray itself says that the job has ended, or that there is none. One that cannot be asked is not."""
        try:
            with dashboard.RayApi(self.cluster.model_copy(update={"name": state.cluster})) as api:
                api.version()
                return api.job(state.name).get("status") in job_diagnosis.TERMINAL
        except errors.NotFound as error:
            return str(error.subject).endswith(f"/api/jobs/{state.name}")
        except errors.FlexcoreError:
            return False


def has_blind_operator(stored: Object) -> bool:
    """Whether this KubeRay cannot see the job: its cluster asks for a token that only its pods were told of."""
    body = (stored.get("spec") or {}).get("rayClusterSpec") or {}
    return not body.get("authOptions") and connection.find_token_key({"spec": body}) is not None
