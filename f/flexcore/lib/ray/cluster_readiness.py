# requirements: flexcore_base
"""Waits until a cluster is ready: its head and its least number of workers answer by Ray's own API.

not ready ─ a finding outlasts its grace period ─→ its typed error        (seconds: image, spec, operator, name)
          ─ a queue, node or quota gives no way in pending_timeout_s ─→ its typed error
          ─ timeout_s is over ─→ DeadlineExceeded, with the latest finding
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from f.flexcore.lib.core import errors
from f.flexcore.lib.ray import cluster, dashboard, kuberay_diagnosis

POLL_INTERVAL_S = 1.0
# A head that answers by an address is there already; it may be busy for a moment.
TRIES_BEFORE_NOTICE = 5


class Watched(Protocol):
    """A cluster that is to become ready. min_workers: how many of its workers must be there."""

    @property
    def name(self) -> str: ...
    @property
    def min_workers(self) -> int: ...
    def find_problem(self) -> kuberay_diagnosis.Finding | None:
        """What keeps it from being ready, as its own side knows it."""

    def open_api(self) -> dashboard.RayApi | None:
        """Its head's API; None as long as there is no head to ask."""


@dataclass(slots=True)
class Waiting:
    """One wait. timeout_s: for all of it; pending_timeout_s: for what others may give way to."""

    watched: Watched
    timeout_s: float
    pending_timeout_s: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    report: Callable[[str], None] = print
    _api: dashboard.RayApi | None = field(default=None, init=False)
    _since: tuple[str, float] = field(default=("", 0.0), init=False)
    _reported: set[str] = field(default_factory=set, init=False)

    def run(self) -> dict[str, Any]:
        """The measures of the ready cluster: those of check_cluster, and its workers. Raises the finding's error, or
        DeadlineExceeded; the errors of a service that cannot be asked are no verdict."""
        until = self.clock() + self.timeout_s
        try:
            while True:
                measures, answer = self._ask_head()
                if measures is not None:
                    return measures
                finding = self.watched.find_problem()
                self._judge(finding)
                if self.clock() > until:
                    raise self._too_late(finding, answer)
                self.sleep(POLL_INTERVAL_S)
        finally:
            self._close()

    def _ask_head(self) -> tuple[dict[str, Any] | None, errors.FlexcoreError | None]:
        """(measures, None) of a ready cluster, else (None, why the head did not answer)."""
        try:
            if self._api is None:
                self._api = self.watched.open_api()
            if self._api is None:
                return None, None
            nodes = self._api.nodes()
            workers = [node for node in nodes if not node.get("is_head_node")]
            if len(workers) == len(nodes):
                # The dashboard answers before the head's own node has registered, and ends with one that never does.
                return None, None
            if len(workers) < self.watched.min_workers:
                self._report(f"{len(workers)} of {self.watched.min_workers} workers are there")
                return None, None
            return cluster.measure(self._api) | {"workers": len(workers)}, None
        except errors.FlexcoreError as error:
            self._close()
            if isinstance(error, errors.UserError) and not isinstance(error, errors.NotFound):
                # A refused token or a page that is not Ray's: waiting changes nothing.
                raise
            return None, error

    def _judge(self, finding: kuberay_diagnosis.Finding | None) -> None:
        if finding is None:
            self._since = ("", 0.0)
            return
        if finding.category != self._since[0]:
            self._since = (finding.category, self.clock())
            self._report(f"Waiting ({finding.category}): {str(finding.error).partition('. ')[0]}")
        grace_s = self.pending_timeout_s if finding.grace_s is None else finding.grace_s
        if self.clock() - self._since[1] >= grace_s:
            raise finding.error

    def _too_late(
        self, finding: kuberay_diagnosis.Finding | None, answer: errors.FlexcoreError | None
    ) -> errors.FlexcoreError:
        why = finding.error if finding else answer
        detail = f": {str(why).partition('. ')[0]}" if why else ""
        return errors.DeadlineExceeded(
            f"The Ray cluster {self.watched.name} was not ready within {self.timeout_s:g} s{detail}",
            subject="timeout_s",
            category="not_ready",
            remedy=(why.remedy if why and why.remedy else "Raise timeout_s, or look at the logs of its head."),
        )

    def _report(self, text: str) -> None:
        if text not in self._reported:
            self._reported.add(text)
            self.report(text)

    def _close(self) -> None:
        if self._api is not None:
            with suppress(Exception):
                self._api.__exit__(None, None, None)
            self._api = None
