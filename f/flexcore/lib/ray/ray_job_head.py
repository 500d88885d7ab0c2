# requirements: flexcore_base
"""The head of a RayJob's cluster: opened once it answers, and watched for as long as the cluster is the job's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.ray import dashboard, ray_job_api, ray_job_status

LOOK_INTERVAL_S = 3.0
# The operator looks at a job every 3 s; a RayJob that has ended while Ray still says otherwise is given so long.
AGREEMENT_TIMEOUT_S = 15.0
# A head's Service answers a moment after KubeRay calls the cluster ready.
ANSWER_TIMEOUT_S = 60.0
ANSWER_INTERVAL_S = 1.0


class ClusterTaken(Exception):
    """The cluster under a running job has gone, or its RayJob has ended or been deleted."""


@dataclass(frozen=True, slots=True)
class OwnHead:
    """cluster: names the Kubernetes cluster and the namespace."""

    api: ray_job_api.RayJobApi
    cluster: resources.RayCluster
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    @contextmanager
    def open(self, state: ray_job_status.RayJobState) -> Iterator[dashboard.RayApi]:
        """The head's dashboard, once it answers. Raises ClusterTaken, or what it answers at last."""
        until = self.clock() + ANSWER_TIMEOUT_S
        while True:
            try:
                api = self._connect(state.cluster)
                break
            except (errors.TransientError, errors.NotFound):
                # Its Service has no endpoint yet, or its Secret is not there; or neither is any more.
                if state.is_ended or self.clock() >= until:
                    raise
            self.sleep(ANSWER_INTERVAL_S)
            self.check(state)
        with api:
            yield api

    def check(self, before: ray_job_status.RayJobState) -> ray_job_status.RayJobState:
        """The RayJob now. Raises ClusterTaken when it no longer has the cluster that it had."""
        stored = self.api.get(before.name)
        if stored is None:
            raise ClusterTaken
        state = ray_job_status.parse_ray_job(stored)
        if state.uid != before.uid or state.is_leaving or state.is_suspended or state.cluster != before.cluster:
            raise ClusterTaken
        if state.phase == "queued":
            raise ClusterTaken
        return state

    def _connect(self, name: str) -> dashboard.RayApi:
        api = dashboard.RayApi(self.cluster.model_copy(update={"name": name}))
        try:
            api.version()
        except errors.FlexcoreError:
            api.__exit__(None, None, None)
            raise
        return api


class ClusterWatch:
    """The pause of a job's observer, which looks at the RayJob beside it every few seconds."""

    def __init__(self, head: OwnHead, state: ray_job_status.RayJobState) -> None:
        self._head, self._state, self._looked = head, state, head.clock()
        self._ended_at: float | None = None

    def sleep(self, seconds: float) -> None:
        """Raises ClusterTaken when the cluster is no longer the job's."""
        self._head.sleep(seconds)
        now = self._head.clock()
        if now - self._looked < LOOK_INTERVAL_S:
            return
        self._looked = now
        try:
            state = self._head.check(self._state)
        except errors.FlexcoreError:
            # The API server does not answer: the head may.
            return
        if state.is_ended and not self._state.is_ended:
            # Ray says so itself when its job has ended; of a deadline of KubeRay's it knows nothing.
            self._ended_at = now if self._ended_at is None else self._ended_at
            if state.reason not in ("", "AppFailed") or now - self._ended_at > AGREEMENT_TIMEOUT_S:
                raise ClusterTaken
