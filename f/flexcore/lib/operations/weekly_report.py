# requirements: flexcore_base
"""A week of executions beside the week before: reliability, time, cost, failures, forecasts, and what changed. Pure.

A week runs from Monday to Monday in UTC and is named as in ISO 8601 (2026-W48); a run belongs to the one in which it
ended, so that each is in one report, however long it took. A number that was not measured is None; one that rests on
few runs says on how many. A change counts only where chance alone would seldom make one so large.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from f.flexcore.lib.core import errors, units
from f.flexcore.lib.operations import outcomes, week_statistics

CURRENCY = "USD"
WHOLE_WEEK = timedelta(days=7)
WEEK = re.compile(r"(\d{4})-W(\d{2})")
# Sums of costs have no error that could be computed; smaller moves are not worth a line.
MIN_COST_CHANGE = 0.2
MAX_FAILURES, MAX_GROUPS, MAX_CHANGES = 10, 50, 20
Outcome = outcomes.Outcome


@dataclass(frozen=True, slots=True)
class Group:
    """One workflow on one runtime, this week and the week before."""

    workflow: str
    runtime: str | None
    rate: week_statistics.Rate
    rate_before: week_statistics.Rate
    durations: week_statistics.Durations
    durations_before: week_statistics.Durations


@dataclass(frozen=True, slots=True)
class Cost:
    """total: of the runs that were priced; None when none was. before: the same of the week before."""

    name: str
    total: float | None
    priced: int
    runs: int
    before: float | None
    priced_before: int
    runs_before: int

    def compare(self) -> str:
        """A sentence; "" when it has not changed enough to be told. Totals are compared where each run was priced, else
        the cost of a run, since the rest may be what makes the difference."""
        if self.total is None or not self.before:
            return ""
        now, before, of, told = self.total, self.before, "", ""
        if self.priced < self.runs or self.priced_before < self.runs_before:
            now, before, of = now / self.priced, before / self.priced_before, " of a run"
            told = f" (of {self.priced:,} of {self.runs:,} runs; before of {self.priced_before:,} of "
            told += f"{self.runs_before:,})"
        if abs(now / before - 1) < MIN_COST_CHANGE:
            return ""
        return f"The cost{of} went from {units.format_money(before)} to {units.format_money(now)} {CURRENCY}{told}"


@dataclass(frozen=True, slots=True)
class FailureCause:
    count: int
    category: str
    reason: str
    remedy: str
    workflows: list[str]
    example: str


@dataclass(frozen=True, slots=True)
class ForecastError:
    """median: of |actual - forecast| / forecast of how long the work took; within: the share between p10 and p90, which
    is 80 % for forecasts that are right."""

    runs: int
    median: float | None
    within: float | None


@dataclass(frozen=True, slots=True)
class WeeklyReport:
    week: str
    since: str
    until: str
    workspace: str
    is_over: bool
    currency: str
    runs: int
    runs_before: int
    statuses: dict[str, int]
    rate: week_statistics.Rate
    rate_before: week_statistics.Rate
    groups: list[Group]
    costs: dict[str, list[Cost]]
    cost: Cost
    failures: list[FailureCause]
    forecast: ForecastError
    orphans: int | None
    changes: list[str]
    not_measured: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Week:
    """rows: of the week; notes: what could not be read of it; orphans: None where no pass ran; unfinished: how many
    runs went on when it ended."""

    rows: Sequence[Outcome]
    notes: Sequence[str] = ()
    orphans: int | None = None
    unfinished: int = 0


def find_week(text: str, now: datetime) -> tuple[str, datetime, datetime]:
    """(name, begin, end) of a week; of an empty text the last whole one. A week that goes on ends now. Raises
    InvalidInput, also for one that has not begun."""
    if not text:
        monday = datetime.combine(now.astimezone(UTC).date(), datetime.min.time(), UTC)
        begin = monday - timedelta(days=monday.weekday() + 7)
    else:
        begin = _parse_week(text)
        if begin > now:
            remedy = "Name a week that has begun; leave it empty for the last one that has ended."
            raise errors.InvalidInput(f"week: {text} has not begun yet", subject="week", remedy=remedy)
    year, number, _ = begin.isocalendar()
    return f"{year}-W{number:02d}", begin, min(begin + WHOLE_WEEK, now)


def list_bounds(begin: datetime) -> list[tuple[datetime, datetime]]:
    """(begin, end) of the week and of the one before."""
    return [(begin, begin + WHOLE_WEEK), (begin - WHOLE_WEEK, begin)]


def _parse_week(text: str) -> datetime:
    match = WEEK.fullmatch(text.strip())
    try:
        if match:
            return datetime.fromisocalendar(int(match[1]), int(match[2]), 1).replace(tzinfo=UTC)
    except ValueError:
        pass
    remedy = "Write it as 2026-W48; leave it empty for the last week that has ended."
    raise errors.InvalidInput(f"week: {text!r} is not a week", subject="week", remedy=remedy)


def build_report(name: str, begin: datetime, end: datetime, workspace: str, now: Week, before: Week) -> WeeklyReport:
    groups = _build_groups(now.rows, before.rows)
    cost = _sum_costs("all", now.rows, before.rows)
    causes = find_causes(now.rows)
    return WeeklyReport(
        week=name,
        since=begin.isoformat(),
        until=end.isoformat(),
        workspace=workspace,
        is_over=end - begin >= WHOLE_WEEK,
        currency=CURRENCY,
        runs=len(now.rows),
        runs_before=len(before.rows),
        statuses=dict(sorted(Counter(row.status for row in now.rows).items())),
        rate=week_statistics.compute_rate(now.rows),
        rate_before=week_statistics.compute_rate(before.rows),
        groups=groups[:MAX_GROUPS],
        costs={
            by: _split_costs(now.rows, before.rows, key)
            for by, key in (
                ("workflow", lambda row: row.workflow),
                ("team", lambda row: row.team),
                ("runtime", lambda row: row.runtime or "several or none"),
            )
        },
        cost=cost,
        failures=causes[:MAX_FAILURES],
        forecast=measure_forecast(now.rows),
        orphans=now.orphans,
        changes=list_changes(groups, cost, now.rows, before.rows)[:MAX_CHANGES],
        not_measured=[
            *([] if end - begin >= WHOLE_WEEK else [f"the rest of the week: it goes on, and this is {name} so far"]),
            *_list_gaps(now, before, len(groups)),
        ],
    )


# --- numbers


def measure_forecast(rows: Iterable[Outcome]) -> ForecastError:
    shares, within = [], []
    for row in rows:
        if row.status != "success" or not row.forecast_s or row.actual_s is None:
            continue
        shares.append(abs(row.actual_s - row.forecast_s) / row.forecast_s)
        if row.forecast_low_s is not None and row.forecast_high_s is not None:
            within.append(row.forecast_low_s <= row.actual_s <= row.forecast_high_s)
    return ForecastError(
        len(shares), statistics.median(shares) if shares else None, sum(within) / len(within) if within else None
    )


# --- groups and costs


def _group(rows: Iterable[Outcome]) -> dict[tuple[str, str | None], list[Outcome]]:
    found: dict[tuple[str, str | None], list[Outcome]] = {}
    for row in rows:
        found.setdefault((row.workflow, row.runtime), []).append(row)
    return found


def _build_groups(rows: Sequence[Outcome], before: Sequence[Outcome]) -> list[Group]:
    """The largest first; those of the week before alone come last."""
    now, earlier = _group(rows), _group(before)
    keys = sorted({*now, *earlier}, key=lambda key: (-len(now.get(key, ())), key[0], key[1] or ""))
    return [
        Group(
            *key,
            week_statistics.compute_rate(now.get(key, ())),
            week_statistics.compute_rate(earlier.get(key, ())),
            week_statistics.compute_durations(now.get(key, ())),
            week_statistics.compute_durations(earlier.get(key, ())),
        )
        for key in keys
    ]


def _sum(rows: Iterable[Outcome]) -> tuple[float | None, int]:
    known = [row.cost_usd for row in rows if row.cost_usd is not None]
    return (math.fsum(known) if known else None), len(known)


def _sum_costs(name: str, rows: Sequence[Outcome], before: Sequence[Outcome]) -> Cost:
    total, priced = _sum(rows)
    return Cost(name, total, priced, len(rows), *_sum(before), len(before))


def _split_costs(rows: Sequence[Outcome], before: Sequence[Outcome], key: Callable[[Outcome], str]) -> list[Cost]:
    sides: dict[str, tuple[list[Outcome], list[Outcome]]] = {}
    for side, ended in enumerate((rows, before)):
        for row in ended:
            sides.setdefault(key(row), ([], []))[side].append(row)
    found = [_sum_costs(name, now, earlier) for name, (now, earlier) in sides.items()]
    return sorted(found, key=lambda item: (-(item.total or 0), item.name))[:MAX_GROUPS]


# --- failures and changes


def find_causes(rows: Iterable[Outcome]) -> list[FailureCause]:
    """The most frequent first; the newest run of each is the example."""
    found: dict[tuple[str, str], list[Outcome]] = {}
    for row in rows:
        if row.status == "failure" and row.is_read:
            found.setdefault((row.category, row.reason), []).append(row)
    causes = [
        FailureCause(
            len(same),
            category,
            reason,
            next((row.remedy for row in same if row.remedy), ""),
            sorted({row.workflow for row in same}),
            same[0].id,
        )
        for (category, reason), same in found.items()
    ]
    return sorted(causes, key=lambda item: (-item.count, item.reason))


def list_changes(groups: Sequence[Group], cost: Cost, rows: Sequence[Outcome], before: Sequence[Outcome]) -> list[str]:
    """Sentences; [] when nothing changed that chance would not explain."""
    now, earlier = {row.workflow for row in rows}, {row.workflow for row in before}
    changes = [f"{name} ran for the first time in two weeks" for name in sorted(now - earlier)] if before else []
    changes += [f"{name} did not run any more" for name in sorted(earlier - now)]
    by_key, by_key_before = _group(rows), _group(before)
    for group in groups:
        key = (group.workflow, group.runtime)
        name = f"{group.workflow} on {group.runtime}" if group.runtime else group.workflow
        changes += week_statistics.compare_rates(name, group.rate, group.rate_before)
        changes += week_statistics.compare_medians(
            name,
            week_statistics.list_times(by_key.get(key, ())),
            week_statistics.list_times(by_key_before.get(key, ())),
        )
    known = {(cause.category, cause.reason) for cause in find_causes(before)}
    fresh = [cause for cause in find_causes(rows) if (cause.category, cause.reason) not in known] if before else []
    changes += [f"New failure, {cause.count} times: {cause.reason}" for cause in fresh[:5]]
    return [*changes, change] if (change := cost.compare()) else changes


def _list_cost_gaps(rows: Sequence[Outcome]) -> list[str]:
    """Why runs have no cost. Those whose results were not read are a note of the week already."""
    missing = [row for row in rows if row.is_read and row.cost_usd is None]
    canceled = sum(row.status in ("canceled", "skipped") for row in missing)
    reasons = {
        "they were canceled or skipped, and what they took until then is not measured": canceled,
        "the settings have no price for what they took or their workflow does not measure it (data_pipeline does)": (
            len(missing) - canceled
        ),
    }
    return [f"the cost of {count:,} of {len(rows):,} runs: {reason}" for reason, count in reasons.items() if count]


def _list_gaps(now: Week, before: Week, groups: int) -> list[str]:
    """What the report does not say, and why."""
    gaps = [*now.notes, *(f"the week before: {note}" for note in before.notes)]
    if now.unfinished:
        runs = "1 run" if now.unfinished == 1 else f"{now.unfinished:,} runs"
        gaps.append(f"{runs} that went on when the week ended: each counts in the week in which it ends")
    gaps += _list_cost_gaps(now.rows)
    if now.orphans is None:
        gaps.append("orphans: operations/reconcile did not run; switch its schedule on")
    if groups > MAX_GROUPS:
        gaps.append(f"{groups - MAX_GROUPS} workflows with few runs are left out of the table")
    return gaps
