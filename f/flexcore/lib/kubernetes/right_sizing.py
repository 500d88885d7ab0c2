# requirements: flexcore_kubernetes
"""Requests from measured use: percentile and headroom, with the reasons. Pure.

The figures are those of the recommender of the Vertical Pod Autoscaler: 90th percentile plus 15 %; of cpu over all
samples, each half as heavy after a day; of memory over the peaks of the pods, since memory that is missing for a moment
kills; after an end out of memory at least 20 % or 100 MB more; never below 25m and 250 MB; samples of the last 8 days.
Limits keep their ratio to the requests.
Source: https://github.com/kubernetes/autoscaler/blob/master/vertical-pod-autoscaler/docs/flags.md
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from f.flexcore.lib.core import dimensions

Object = Mapping[str, Any]

PERCENTILE = 0.9
HEADROOM = 0.15
MIN_CPU = 0.025
MIN_MEMORY_BYTES = 250_000_000
OOM_RATIO = 1.2
OOM_BYTES = 100 * 2**20
HALF_LIFE_S = 24 * 3600
MAX_AGE_S = 8 * 24 * 3600
# Samples are kept as counts of buckets, so that many of them stay small; each is 5 % wider than the one before.
FIRST_BUCKET_CORES = 0.001
BUCKET_RATIO = 1.05
# From here on a limit has probably cut the use that was measured.
AT_LIMIT = 0.95
# A day has every hour of use in it; less has not.
ENOUGH_S = 24 * 3600
MIB = 2**20
OUT_OF_MEMORY = "OOMKilled"


@dataclass(slots=True)
class Usage:
    """What one container of a Deployment used, over its pods.

    since, until: seconds since the epoch; cores: samples by bucket; peaks: the highest working set of each pod, bytes.
    """

    since: float | None = None
    until: float | None = None
    cores: Counter[int] = field(default_factory=Counter)
    peaks: list[int] = field(default_factory=list)
    max_cores: float | None = None

    @property
    def samples(self) -> int:
        return sum(self.cores.values())

    def add(self, at: float, cores: float) -> None:
        self.cores[find_bucket(cores)] += 1
        self.since = at if self.since is None else min(self.since, at)
        self.until = at if self.until is None else max(self.until, at)
        self.max_cores = max(self.max_cores or 0.0, cores)

    def plain(self) -> dict[str, Any]:
        cores = {str(bucket): count for bucket, count in sorted(self.cores.items())}
        times = {"since": self.since, "until": self.until, "max_cores": self.max_cores}
        return {**times, "cores": cores, "peaks": self.peaks}


def parse_usage(value: Any) -> Usage | None:
    """The Usage that `plain` wrote; None for anything else."""
    try:
        cores = Counter({int(bucket): int(count) for bucket, count in value["cores"].items()})
        peaks, until = [int(peak) for peak in value["peaks"]], float(value["until"])
        return Usage(float(value["since"]), until, cores, peaks, float(value["max_cores"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def find_bucket(cores: float) -> int:
    return max(0, math.ceil(round(math.log(max(cores, FIRST_BUCKET_CORES) / FIRST_BUCKET_CORES, BUCKET_RATIO), 6)))


def bucket_end(bucket: int) -> float:
    return float(FIRST_BUCKET_CORES * BUCKET_RATIO**bucket)


def cpu_percentile(usages: Iterable[Usage], share: float, now: float) -> float | None:
    """Cores that `share` of the samples stay within, newer samples heavier; None without a sample."""
    weights: dict[int, float] = {}
    highest = 0.0
    for usage in usages:
        highest = max(highest, usage.max_cores or 0.0)
        weight = 0.5 ** (max(now - (usage.until or now), 0) / HALF_LIFE_S)
        for bucket, count in usage.cores.items():
            weights[bucket] = weights.get(bucket, 0.0) + weight * count
    needed, below = share * sum(weights.values()), 0.0
    for bucket in sorted(weights):
        below += weights[bucket]
        if below >= needed - 1e-9:
            return min(bucket_end(bucket), highest)
    return None


def memory_percentile(peaks: Iterable[int], share: float) -> int | None:
    """Bytes that `share` of the peaks stay within: the smallest peak that does. None without a peak."""
    ordered = sorted(peaks)
    return ordered[min(math.ceil(share * len(ordered)), len(ordered)) - 1] if ordered else None


# --- suggestion


@dataclass(slots=True)
class Suggestion:
    """cpu, memory: quantities, or "" where nothing was measured; reasons: how each came about, and what speaks against
    relying on it."""

    cpu: str = ""
    memory: str = ""
    reasons: list[str] = field(default_factory=list)
    not_measured: list[str] = field(default_factory=list)


def suggest(
    usages: Sequence[Usage],
    container: Object,
    statuses: Sequence[Object],
    now: float,
    percentile: float = PERCENTILE,
    headroom: float = HEADROOM,
) -> Suggestion:
    """What the container should request. container: of the pod template; statuses: of it in its pods (their
    containerStatuses)."""
    result = Suggestion()
    _suggest_cpu(result, usages, container, now, percentile, headroom)
    _suggest_memory(result, usages, container, statuses, percentile, headroom)
    if result.cpu or result.memory:
        result.reasons += _judge_confidence(usages)
    return result


def _suggest_cpu(
    result: Suggestion, usages: Sequence[Usage], container: Object, now: float, percentile: float, headroom: float
) -> None:
    used = cpu_percentile(usages, percentile, now)
    if used is None:
        result.not_measured.append("cpu")
        return
    wanted = used * (1 + headroom)
    text = f"cpu: {_share(percentile)} of the samples stay within {format_cpu(used)}"
    result.cpu = format_cpu(max(wanted, MIN_CPU))
    result.reasons.append(
        f"{text}, plus {headroom * 100:g} % headroom: {format_cpu(wanted)}{_describe_now(container, 'cpu')}"
    )
    if wanted < MIN_CPU:
        result.reasons.append(f"cpu: nothing below {format_cpu(MIN_CPU)} is suggested")
    limit = read_amount(container, "limits", "cpu")
    if limit and used >= AT_LIMIT * limit:
        result.reasons.append(
            f"cpu: the limit of {format_cpu(limit)} has probably cut what was used; measure again after a resize"
        )


def _suggest_memory(
    result: Suggestion,
    usages: Sequence[Usage],
    container: Object,
    statuses: Sequence[Object],
    percentile: float,
    headroom: float,
) -> None:
    used = memory_percentile((peak for usage in usages for peak in usage.peaks), percentile)
    killed = [name for name in map(_describe_memory_kill, statuses) if name]
    bound = read_amount(container, "limits", "memory")
    if used is None and not (killed and bound):
        result.not_measured.append("memory")
        return
    if killed and bound:
        used = round(max(bound * OOM_RATIO, bound + OOM_BYTES, used or 0))
        result.reasons.append(
            f"memory: the container was killed out of memory at its limit of {format_memory(bound)}, so at least "
            f"{format_memory(used)} are taken as its use"
        )
    assert used is not None
    wanted = used * (1 + headroom)
    result.memory = format_memory(max(wanted, MIN_MEMORY_BYTES))
    text = f"memory: {_share(percentile)} of the pods' peaks stay within {format_memory(used)}"
    result.reasons.append(
        f"{text}, plus {headroom * 100:g} % headroom: {format_memory(wanted)}{_describe_now(container, 'memory')}"
    )
    if wanted < MIN_MEMORY_BYTES:
        result.reasons.append(f"memory: nothing below {format_memory(MIN_MEMORY_BYTES)} is suggested")


def _judge_confidence(usages: Sequence[Usage]) -> list[str]:
    span = sum((usage.until or 0) - (usage.since or 0) for usage in usages)
    samples = sum(usage.samples for usage in usages)
    if span >= ENOUGH_S:
        return []
    return [
        f"This rests on {samples} samples over {span:.0f} s and not on a whole day: a busier hour may need more; "
        "repeat it under load before you take less"
    ]


def _describe_memory_kill(status: Object) -> str:
    for moment in ("state", "lastState"):
        if ((status.get(moment) or {}).get("terminated") or {}).get("reason") == OUT_OF_MEMORY:
            return str(status.get("name"))
    return ""


def _describe_now(container: Object, name: str) -> str:
    requests = ((container.get("resources") or {}).get("requests") or {}).get(name)
    return f" (requested now: {requests})" if requests is not None else " (nothing is requested now)"


def _share(percentile: float) -> str:
    return f"{percentile * 100:g} %"


# --- resources of a container


def read_amount(container: Object, kind: str, name: str) -> float | None:
    """Cores or bytes in a container's resources; kind: requests or limits. None when there is none."""
    return dimensions.parse_amount(((container.get("resources") or {}).get(kind) or {}).get(name))


def scale_resources(container: Object, cpu: str, memory: str) -> dict[str, Any]:
    """The container's resources with new requests, an empty one left; limits keep their ratio to the requests, and what
    has none gets none."""
    before = container.get("resources") or {}
    after = {kind: dict(before.get(kind) or {}) for kind in ("requests", "limits")}
    for name, wanted in (("cpu", cpu), ("memory", memory)):
        if not wanted:
            continue
        request, limit = read_amount(container, "requests", name), read_amount(container, "limits", name)
        after["requests"][name] = wanted
        if limit:
            ratio = limit / request if request else 1.0
            bound = (dimensions.parse_amount(wanted) or 0.0) * ratio
            after["limits"][name] = wanted if ratio == 1 else format_amount(name, bound)
    kept = {kind: amounts for kind, amounts in after.items() if amounts}
    return {**{name: value for name, value in before.items() if name not in after}, **kept}


def same_resources(first: Object, second: Object) -> bool:
    """Whether two resources are the same amounts, however they are written."""

    def amounts(item: Object) -> dict[tuple[str, str], Any]:
        return {
            (kind, name): dimensions.parse_amount(value)
            for kind in ("requests", "limits")
            for name, value in (item.get(kind) or {}).items()
        }

    return amounts(first) == amounts(second)


def format_amount(name: str, amount: float) -> str:
    return format_cpu(amount) if name == "cpu" else format_memory(amount)


def format_cpu(cores: float) -> str:
    """Whole millicores, rounded up."""
    return f"{max(math.ceil(round(cores * 1000, 6)), 1)}m"


def format_memory(size: float) -> str:
    """Whole Mi, rounded up."""
    return f"{max(math.ceil(round(size / MIB, 6)), 1)}Mi"
