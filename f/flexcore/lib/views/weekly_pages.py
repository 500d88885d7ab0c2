# requirements: flexcore_base
"""The weekly report for people: a page in Windmill, the same as a mail, and plain text for chats. Pure.

report: the plain data of weekly_report.WeeklyReport.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from f.flexcore.lib.core import units
from f.flexcore.lib.views import html, plots, result_pages

Plain = Mapping[str, Any]
GROUP_HEAD = ("Workflow", "Runtime", "Runs", "Success (95 % interval)", "Before", "p50", "Before", "p95", "Before")
COST_HEAD = ("Cost by", "Name", "Cost", "Week before", "Runs with a price")
FAILURE_HEAD = ("Times", "Category", "Reason", "What to do", "Workflows", "Example")
COUNTED = "Each run counts in the week in which it ended, in UTC. Plans are not counted."
NOTHING_CHANGED = "Nothing that chance would not explain."
NOTHING_BEFORE = "Nothing ran in the week before, so there is nothing to compare with."
MAX_CHART_BARS = 20
# A chat shows the first lines; the page has them all.
MAX_TEXT_GROUPS, MAX_TEXT_FAILURES = 8, 5


def show(result: Plain, note: str, env: Mapping[str, str]) -> dict[str, Any]:
    """The report with its page."""
    return result_pages.show(lambda plain, links: render_report(plain, links, note), result, env)


def make_title(report: Plain) -> str:
    return f"Week {report['week']} in {report['workspace']}: {describe(report)}"


def describe(report: Plain) -> str:
    """What happened, in one line."""
    if not report["runs"]:
        return "no run"
    runs = "1 run" if report["runs"] == 1 else f"{report['runs']:,} runs"
    return f"{runs}, {format_rate(report['rate'])}, {format_cost(report['cost'], report['currency'])}"


def list_changes(report: Plain) -> list[str]:
    if not report["runs_before"]:
        return [NOTHING_BEFORE, *report["changes"]]
    return list(report["changes"]) or [NOTHING_CHANGED]


def format_rate(rate: Plain) -> str:
    if rate["rate"] is None:
        return "success not measured"
    return f"{rate['rate']:.1%} successful ({rate['low']:.0%} to {rate['high']:.0%}, n={rate['runs']})"


def format_cost(cost: Plain, currency: str) -> str:
    """Of how many runs it is, where that is not all of them."""
    if cost["total"] is None:
        return f"cost {html.NOT_MEASURED}"
    part = f" for {cost['priced']:,} of {cost['runs']:,} runs" if cost["priced"] < cost["runs"] else ""
    return f"{units.format_money(cost['total'])} {currency}{part}"


def _amount(amount: float | None, currency: str) -> str:
    return html.NOT_MEASURED if amount is None else f"{amount:,.4g} {currency}"


def render_report(report: Plain, links: result_pages.Links, note: str = "", has_chart: bool = True) -> str:
    """note: what became of sending it. has_chart: not for a mail, whose readers show no SVG."""
    return html.build_page(
        html.build_summary("report", make_title(report)),
        html.build_line(escape(note)) if note else "",
        _build_list("What changed", list_changes(report)),
        html.build_heading("Reliability and time") + _build_groups(report["groups"], bool(report["runs_before"])),
        html.build_line(COUNTED),
        draw_medians(report["groups"]) if has_chart else "",
        html.build_heading("Cost") + _build_costs(report),
        html.build_heading("Most frequent failures") + _build_failures(report, links),
        html.build_line(escape(describe_forecast(report["forecast"]))),
        html.build_line(escape(describe_orphans(report["orphans"]))),
        _build_list("Not measured", report["not_measured"]) if report["not_measured"] else "",
    )


def render_mail(report: Plain, links: result_pages.Links) -> str:
    """A whole document for a mail reader; the chart's numbers stand in its table."""
    body, title = render_report(report, links, has_chart=False), escape(make_title(report))
    meta = '<meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    style = "font-family:Helvetica,Arial,sans-serif;margin:16px"
    head = f"<head>{meta}<title>{title}</title></head>"
    return f'<!DOCTYPE html><html lang="en">{head}<body style="{style}">{body}</body></html>'


def format_lines(report: Plain) -> list[str]:
    """The report as plain text, for a chat and for who reads mail as text."""
    lines = [
        f"{describe(report)}; the week before: {report['runs_before']:,} runs, {format_rate(report['rate_before'])}"
    ]
    lines += ["What changed:", *(f"- {text}" for text in list_changes(report))]
    for group in report["groups"][:MAX_TEXT_GROUPS]:
        p50, p95 = (html.format_seconds(group["durations"][name]) for name in ("p50", "p95"))
        lines.append(f"{_name_group(group)}: {format_rate(group['rate'])}, p50 {p50}, p95 {p95}")
    for by, costs in report["costs"].items():
        known = [item for item in costs if item["total"] is not None][:MAX_TEXT_FAILURES]
        if known:
            texts = [f"{item['name']} {_amount(item['total'], report['currency'])}" for item in known]
            lines.append(f"Cost by {by}: {', '.join(texts)}")
    for cause in report["failures"][:MAX_TEXT_FAILURES]:
        lines.append(f"Failed {cause['count']} times: {cause['reason']}{_remedy(cause)}")
    lines += [describe_forecast(report["forecast"]), describe_orphans(report["orphans"])]
    return [*lines, *(f"Not measured: {gap}" for gap in report["not_measured"])]


def _remedy(cause: Plain) -> str:
    return f" What to do: {cause['remedy']}" if cause["remedy"] and cause["remedy"] not in cause["reason"] else ""


def describe_forecast(forecast: Plain) -> str:
    if forecast["median"] is None:
        return "Forecast error: not measured, as no run that succeeded had a forecast."
    within = (
        ""
        if forecast["within"] is None
        else f"; {forecast['within']:.0%} lay between p10 and p90 (80 % would be right)"
    )
    return f"Forecast error: {forecast['median']:.0%} of the duration in the median of {forecast['runs']} runs{within}."


def describe_orphans(orphans: int | None) -> str:
    if orphans is None:
        return "Orphans found: not measured."
    return f"Orphans found and stopped: {orphans}."


def _name_group(group: Plain) -> str:
    return f"{group['workflow']} on {group['runtime']}" if group["runtime"] else str(group["workflow"])


def _build_list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f'<li style="margin:2px 0">{escape(line)}</li>' for line in lines)
    return f'{html.build_heading(title)}<ul style="list-style:disc;padding-left:20px;margin:0">{items}</ul>'


def _build_groups(groups: Sequence[Plain], has_before: bool) -> str:
    """has_before: whether anything ran in the week before; otherwise its columns would be empty."""
    rows = []
    for group in groups:
        now, before = group["durations"], group["durations_before"]
        earlier = group["rate_before"]
        rows.append(
            [
                group["workflow"],
                group["runtime"] or "several or none",
                f"{group['rate']['runs']:,}",
                format_rate(group["rate"]).replace(" successful", ""),
                html.NOT_MEASURED if earlier["rate"] is None else f"{earlier['rate']:.0%} (n={earlier['runs']})",
                _seconds(now["p50"], now["runs"]),
                _seconds(before["p50"], before["runs"]),
                _seconds(now["p95"], now["runs"]),
                _seconds(before["p95"], before["runs"]),
            ]
        )
    if not rows:
        return html.build_line("No workflow ran.")
    shown = [number for number, name in enumerate(GROUP_HEAD) if has_before or name != "Before"]
    return html.build_table(
        [GROUP_HEAD[number] for number in shown], [[row[number] for number in shown] for row in rows]
    )


def _seconds(amount: float | None, runs: int) -> str:
    if amount is None:
        return f"{html.NOT_MEASURED} (n={runs})"
    return html.format_seconds(amount)


def draw_medians(groups: Sequence[Plain]) -> str:
    """Return a bar for the median of each workflow now, and one for the week before; "" where nothing was measured."""
    bars = []
    for group in groups[: MAX_CHART_BARS // 2]:
        for name, parts, field in (("", (1, 0), "durations"), (" before", (0, 1), "durations_before")):
            p50 = group[field]["p50"]
            if p50 is not None:
                bar = [part * p50 for part in parts]
                bars.append(plots.Bar(f"{_name_group(group)}{name}", bar, html.format_seconds(p50)))
    return plots.build_stacked_bars("Median duration", [("this week", html.BLUE), ("week before", html.GRAY)], bars)


def _build_costs(report: Plain) -> str:
    total = report["cost"]
    rows = [_cost_row("all", {**total, "name": ""}, report["currency"])]
    for by, costs in report["costs"].items():
        rows += [_cost_row(by, item, report["currency"]) for item in costs]
    return html.build_table(COST_HEAD, rows, 0)


def _cost_row(by: str, item: Plain, currency: str) -> list[str]:
    priced = f"{item['priced']:,} of {item['runs']:,}"
    return [by, item["name"], _amount(item["total"], currency), _amount(item["before"], currency), priced]


def _build_failures(report: Plain, links: result_pages.Links) -> str:
    if not report["failures"]:
        return html.build_line("No run failed, as far as results were read.")
    rows = []
    for cause in report["failures"]:
        page = f"{links.base}/run/{cause['example']}?workspace={links.workspace}" if links.base else None
        cells = (
            str(cause["count"]),
            cause["category"] or html.UNKNOWN,
            cause["reason"],
            cause["remedy"] or html.UNKNOWN,
        )
        rows.append([*map(escape, cells), escape(", ".join(cause["workflows"])), html.build_link(page, "open")])
    return html.build_html_table(FAILURE_HEAD, rows)
