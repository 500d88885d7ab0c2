# requirements: flexcore_kubernetes
"""The operation behind kubernetes/place_job: a job on the cluster that suits it, and on another one only when it cannot
run twice or may.

    choose → record → run there ──verdict──→ done
                        └─contact lost→ decide (placement_moves) ─┬─ attach, wait ─→ run there again
                                                                  └─ move → record → run on the next cluster
A repeat of the step, and a second copy of it, find the cluster in the record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pydantic import Field

from f.flexcore.lib.core import driver, errors, operation, resources
from f.flexcore.lib.kubernetes import (
    cluster_choice,
    cluster_contact,
    contact_records,
    job_manifest,
    job_operation,
    placement,
    placement_moves,
    placement_records,
    placement_request,
)
from f.flexcore.lib.storage import object_store

# A cluster that does not answer is asked again after this time, until something else can be decided.
RETRY_INTERVAL_S = 10.0
# One that is only lost for a moment is not worth a failed step; beyond it the flow's own retry goes on.
MAX_WAIT_S = 300.0


class PlacedJobRequest(resources.Form):
    """The form of kubernetes/place_job."""

    job: dict[str, Any] = Field(description="The job: the fields of kubernetes/run_job, e.g. image, command, cpu.")
    placement: placement_request.PlacementRequest = Field(
        default=placement_request.PlacementRequest(),
        description="Among which clusters and by what: the fields of kubernetes/choose_cluster.",
    )
    safe_to_repeat: bool = Field(
        default=False,
        description="Whether the job may run twice at the same time. Then it starts elsewhere as soon as its cluster "
        "is lost; else only when its deadline there has passed.",
    )


@dataclass(slots=True)
class PlacedJob:
    """One execution. clock: seconds since the epoch."""

    invocation: operation.Invocation[job_manifest.JobRequest, resources.KubernetesCluster]
    request: PlacedJobRequest
    book: placement_records.PlacementBook
    read_resource: cluster_contact.ReadResource
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    report: Callable[[str], None] = field(default=partial(print, flush=True))
    _candidates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.invocation.key.value

    def run(self) -> dict[str, Any]:
        """The plain result of the job, with data.cluster and data.moves. Raises its typed error; Unreachable, with both
        clocks, while nothing can be decided."""
        until = self.clock() + MAX_WAIT_S
        while True:
            record = self.book.read("jobs", self.id) or self._place()
            copy = record.copies[0]
            try:
                return self._conclude(self._run_on(copy.cluster), copy.cluster)
            except errors.TransientError as error:
                if not cluster_contact.is_lost_contact(error):
                    raise
                until = self._settle(error, until)

    def _run_on(self, cluster: str) -> dict[str, Any]:
        # Who only chooses needs none of it.
        from f.flexcore.lib.kubernetes import far_job

        self.report(f"Running on {cluster}")
        service = errors.validate(resources.KubernetesCluster, self.read_resource(cluster) or {}, cluster)
        keeper = far_job.JobKeeper(self.book, self.id, cluster, self.clock)
        return driver.drive(partial(far_job.open_kept_job, keeper=keeper), replace(self.invocation, service=service))

    # --- choose

    def _place(self) -> placement_records.PlacementRecord:
        cluster = self._choose(())
        copy = placement_moves.PlacedCopy(cluster=cluster, kind="Job")
        fresh = placement_records.PlacementRecord(
            kind="jobs",
            id=self.id,
            name=self.invocation.key.name(1),
            labels=self.invocation.key.labels(1),
            copies=[copy],
            placement=self.request.placement.model_dump(mode="json"),
        )
        return self.book.change("jobs", self.id, lambda stored: None if stored else fresh)

    def _choose(self, excluded: Sequence[str]) -> str:
        """Raises InvalidInput or Unreachable, with the candidate table."""
        request, settings = self.request.placement, self.invocation.settings
        namespace = self.invocation.request.requested_namespace()
        inquiry = cluster_contact.Inquiry(self.read_resource, settings, namespace, self.clock)
        contacts = cluster_choice.ask(inquiry, request.paths(settings), request, settings)
        spec = job_manifest.build(self.invocation.request, self.id, namespace or "default").job["spec"]
        shape = placement_request.shape_pods(request, spec["template"]["spec"], int(spec.get("parallelism", 1)))
        shape = replace(shape, excluded=shape.excluded | set(excluded))
        if dispatcher := self._find_dispatcher(contacts, shape):
            self.report(f"{dispatcher}: its queue sends the job to clusters itself (MultiKueue); it is handed the job")
            return dispatcher
        choice = cluster_choice.choose(shape, request, contacts, settings)
        cluster_choice.report(choice)
        self._candidates = choice.rows()
        return choice.clusters[0]

    def _find_dispatcher(self, contacts: Sequence[cluster_contact.Contact], shape: placement.Shape) -> str:
        """The cluster whose queue, as the job names it, chooses among clusters; "" when there is none."""
        from f.flexcore.lib.kubernetes import multikueue

        body = job_manifest.build(self.invocation.request, self.id, "default").job
        queue = multikueue.find_queue(body)
        for contact in contacts if queue else ():
            session = None if contact.error or contact.name in shape.excluded else contact.session
            if session and multikueue.is_dispatcher(session.kubernetes, contact.namespace, queue):
                return contact.name
        return ""

    # --- contact lost

    def _settle(self, error: errors.FlexcoreError, until: float) -> float:
        """Until when to go on asking, after waiting or moving. Raises the error when that helps no more."""
        record = self.book.read("jobs", self.id)
        assert record is not None
        copy, now = record.copies[0], self.clock()
        last = contact_records.read(self.book.store, copy.cluster)
        clocks = placement_moves.read_clocks(copy, last.at, last.server_time, now)
        decision = placement_moves.decide_job(copy, clocks, is_lost=True, may_run_twice=self.request.safe_to_repeat)
        self.report(f"{copy.cluster} does not answer ({clocks.describe()}): {decision.action}, {decision.reason}")
        if decision.action == "move" and (cluster := self._find_other(copy)):
            return self._move(copy, cluster, decision.reason)
        # A deadline that is known ends by itself: it is waited for however long it is.
        until = max(until, now + decision.wait_s + RETRY_INTERVAL_S) if decision.wait_s is not None else until
        if now >= until:
            raise self._undecided(error, copy, clocks, decision)
        self.sleep(min(RETRY_INTERVAL_S, max(until - now, 0)))
        return until

    def _find_other(self, copy: placement_moves.PlacedCopy) -> str:
        """ "" when no other can take it now; then the lost one may still come back."""
        try:
            return self._choose((copy.cluster,))
        except errors.FlexcoreError as error:
            if "candidates" not in error.details:
                raise
            self.report(str(error))
            return ""

    def _move(self, copy: placement_moves.PlacedCopy, cluster: str, reason: str) -> float:
        fresh = placement_moves.PlacedCopy(cluster=cluster, kind="Job")
        now = self.clock()

        def change(stored: placement_records.PlacementRecord | None) -> placement_records.PlacementRecord | None:
            # Another copy of this step may have moved it already.
            if stored is None or stored.copies[0].cluster != copy.cluster:
                return None
            return placement_records.replace_copy(stored, copy.cluster, fresh, reason, now)

        after = self.book.change("jobs", self.id, change)
        self.report(f"Moved from {copy.cluster} to {after.copies[0].cluster}: {reason}")
        return self.clock() + MAX_WAIT_S

    def _undecided(
        self,
        error: errors.FlexcoreError,
        copy: placement_moves.PlacedCopy,
        clocks: placement_moves.Clocks,
        decision: placement_moves.Decision,
    ) -> errors.Unreachable:
        return errors.Unreachable(
            f"{copy.cluster} does not answer, and the job is not started elsewhere: {decision.reason} "
            f"({clocks.describe()})",
            subject=copy.cluster,
            remedy="Run again when it answers; set safe_to_repeat if two of them at the same time do no harm.",
            clocks=clocks.model_dump(mode="json"),
            contact=str(error),
        )

    def _conclude(self, result: dict[str, Any], cluster: str) -> dict[str, Any]:
        now = self.clock()
        record = self.book.change(
            "jobs", self.id, lambda stored: stored and stored.model_copy(update={"ended_at": stored.ended_at or now})
        )
        moves = [item.model_dump(mode="json") for item in record.moves]
        # Of the last choice in this call; a repeat that attaches has made none.
        data = {"cluster": f"$res:{cluster}", "moves": moves, "candidates": self._candidates}
        return {**result, "data": {**(result.get("data") or {}), **data}}


def place_job(
    arguments: Mapping[str, Any], read_resource: cluster_contact.ReadResource, env: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The plain result of kubernetes/place_job. Raises InvalidInput before any cluster is asked."""
    given = {name: value for name, value in arguments.items() if name != "settings"}
    request = errors.validate(PlacedJobRequest, given, "")
    job = errors.validate(job_manifest.JobRequest, request.job, "job")
    settings = errors.validate(resources.Settings, arguments.get("settings") or {}, "settings")
    if job.wait != operation.BLOCK:
        raise errors.InvalidInput(
            f"job.wait: {job.wait!r} cannot be used with a placement",
            subject="job.wait",
            remedy="Use block: who waits must see when the cluster is lost.",
        )
    try:
        job_operation.check(job, None, settings)
    except errors.FlexcoreError as error:
        raise errors.qualify(error, "job") from None
    request.placement.paths(settings)
    key, call = operation.read_key_and_call(env, None)
    invocation = operation.Invocation("kubernetes", job, resources.KubernetesCluster(), settings, key, call)
    book = placement_records.PlacementBook(object_store.Store(settings))
    return PlacedJob(invocation, request, book, read_resource).run()
