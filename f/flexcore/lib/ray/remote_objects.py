# requirements: flexcore_base
"""Our objects at a resource of Ray: the jobs of its head that carry our labels, listed in one call, and the RayJobs of
its namespace, where it names one. Stopped and deleted only as they were seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from f.flexcore.lib.core import errors, identity, remote_objects, resources
from f.flexcore.lib.ray import dashboard, job_diagnosis

if TYPE_CHECKING:
    from f.flexcore.lib.ray import ray_job_objects

# The kind of a RayJob: ray_job_objects.KIND, which a head without Kubernetes need not load.
RAY_JOB = "kuberay_job"


class RayObjects:
    """`place` is the resource's path. Raises the errors of RayApi."""

    def __init__(self, place: str, resource: Any, namespace: str = "") -> None:
        self.place, self.cluster = place, errors.validate(resources.RayCluster, resource, place)
        self.namespace = namespace

    def _ray_jobs(self) -> ray_job_objects.RayJobObjects:
        from f.flexcore.lib.ray import ray_job_objects

        return ray_job_objects.RayJobObjects(self.place, self.cluster, self.namespace)

    def find(self) -> list[remote_objects.RemoteObject]:
        ray_jobs = self._ray_jobs().find() if self.cluster.is_on_kubernetes else []
        # Without a name it only says where clusters are made for single jobs.
        return ray_jobs if self.cluster.is_on_kubernetes and not self.cluster.name else [*ray_jobs, *self._find_jobs()]

    def _find_jobs(self) -> list[remote_objects.RemoteObject]:
        with dashboard.RayApi(self.cluster) as api:
            jobs = api.jobs()
        ours = [job for job in jobs if (job.get("metadata") or {}).get(identity.MANAGED_BY) == "flexcore"]
        return [parse_remote_object(self.place, job, api.ahead) for job in ours]

    def stop(self, item: remote_objects.RemoteObject) -> str:
        """What became of it."""
        if item.kind == RAY_JOB:
            return self._ray_jobs().stop(item)
        with dashboard.RayApi(self.cluster) as api:
            now = self._find_again(api, item)
            if now is None or now.state != "running":
                return "had gone" if now is None else "had finished"
            api.stop(item.name)
        return "stopped"

    def delete(self, item: remote_objects.RemoteObject) -> str:
        if item.kind == RAY_JOB:
            return self._ray_jobs().delete(item)
        with dashboard.RayApi(self.cluster) as api:
            now = self._find_again(api, item)
            if now is None or now.state != "finished":
                return "had gone" if now is None else "runs"
            api.delete(item.name)
        return "deleted"

    def _find_again(
        self, api: dashboard.RayApi, item: remote_objects.RemoteObject
    ) -> remote_objects.RemoteObject | None:
        """The job as it is now; None when it is gone or another one has its name."""
        try:
            now = parse_remote_object(self.place, api.job(item.name))
        except errors.NotFound:
            return None
        return now if (now.uid, now.labels) == (item.uid, item.labels) else None


def parse_remote_object(place: str, job: dashboard.Json, ahead: float = 0.0) -> remote_objects.RemoteObject:
    """ahead: of the head's clock, by which its jobs' times are; ours are by our own."""
    labels = {str(key): str(value) for key, value in (job.get("metadata") or {}).items()}
    after, deadline = (labels.get(f"flexcore/{name}", "") for name in ("delete-after", "deadline"))
    return remote_objects.RemoteObject(
        runtime="ray",
        place=place,
        kind="job",
        name=str(job.get("submission_id")),
        # A job id comes only when the driver starts; the moment of the submission is there from the beginning.
        uid=str(job.get("start_time")),
        state="finished" if job.get("status") in job_diagnosis.TERMINAL else "running",
        labels=labels,
        delete_after=float(after) - ahead if after.isdigit() else None,
        deadline=float(deadline) - ahead if deadline.isdigit() else None,
        created_at=job["start_time"] / 1000 if job.get("start_time") else None,
    )
