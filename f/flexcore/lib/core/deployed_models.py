# requirements: flexcore_base
"""A model that serves, as its runtime has it now: what the runtimes tell the dashboard."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeployedVersion:
    """weight: per cent of the traffic, null where nothing says it; ready: whether it answers, null where that cannot be
    told; created_at: ISO 8601; run: the root job of whoever deployed it."""

    version: str
    weight: int | None
    ready: bool | None
    created_at: str | None = None
    run: str | None = None


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """versions: the present one first. url: null where nothing says it. former: the version that it would go back to;
    no_way_back: why it cannot, "" when it can. revision: rises with each change of what answers, null where nothing
    says it; former_revision: that of `former`, where the runtime keeps it."""

    name: str
    namespace: str
    versions: list[DeployedVersion]
    url: str | None = None
    former: str | None = None
    no_way_back: str = ""
    revision: int | None = None
    former_revision: int | None = None
