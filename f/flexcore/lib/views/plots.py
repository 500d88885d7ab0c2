# requirements: flexcore_base
"""Line and dot plots, and stacked bars, as plain SVG for Windmill's job page. Pure.

Axes and words take the page's own color of text, so that they can be read on light and on dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH_PX, HEIGHT_PX = 420, 240
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 64, 12, 28, 40
LINE_COLOR, BEST_COLOR = "#3b82f6", "#d97706"
BAR_WIDTH_PX, BAR_HEIGHT_PX, ROW_HEIGHT_PX, NAME_WIDTH_PX, NOTE_WIDTH_PX = 760, 14, 24, 220, 130
# Below this a part could not be seen.
MIN_PART_PX = 1.5
MAX_NAME_CHARACTERS = 34
# Values that span more than this are shown on a logarithmic scale.
LOG_RATIO = 50
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """low and high are of the values; a single value gets room on both sides."""

    name: str
    low: float
    high: float
    is_log: bool

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        low, high, at = (math.log(item) if self.is_log else item for item in (self.low, self.high, value))
        return 0.5 if high == low else (at - low) / (high - low)


def make_axis(name: str, values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    return Axis(name, low, high, low > 0 and high / low > LOG_RATIO)


def build_plot(title: str, x_name: str, y_name: str, series: Sequence[Sequence[Point]], best: int | None = None) -> str:
    """Return a plot with a line for each series (dots for those of one point); "" when there is nothing to show.
    `best`: the series that stands out. Values that are not finite are left out."""
    lines = [[point for point in line if all(map(math.isfinite, point))] for line in series]
    points = [point for line in lines for point in line]
    if not points:
        return ""
    x_axis, y_axis = (make_axis(name, [point[at] for point in points]) for at, name in enumerate((x_name, y_name)))
    # The one that stands out is drawn last, above the others.
    order = sorted(range(len(lines)), key=lambda number: number == best)
    drawn = "".join(_draw_line(lines[number], x_axis, y_axis, number == best) for number in order if lines[number])
    return build_svg(title, WIDTH_PX, HEIGHT_PX, f"{_draw_axes(title, x_axis, y_axis)}{drawn}")


def build_svg(title: str, width: float, height: float, drawn: str) -> str:
    """Return a picture with a name for those who do not see it; its lines and words take the color around it."""
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escape(title)}" '
        f'style="color:inherit;font:11px sans-serif;margin:8px 16px 8px 0;max-width:100%;height:auto">'
        f"<title>{escape(title)}</title>{drawn}</svg>"
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """parts: one amount for each part of the legend, 0 for none; note: what stands behind the bar."""

    name: str
    parts: Sequence[float]
    note: str


def build_stacked_bars(title: str, legend: Sequence[tuple[str, str]], bars: Sequence[Bar]) -> str:
    """Return a horizontal bar for each, to the scale of the longest; "" when all are empty. legend: (name, color) of
    each part. Amounts that are not finite or below 0 count as 0."""
    amounts = [[part if math.isfinite(part) and part > 0 else 0.0 for part in bar.parts] for bar in bars]
    longest = max(map(sum, amounts), default=0)
    if longest <= 0:
        return ""
    scale = (BAR_WIDTH_PX - NAME_WIDTH_PX - NOTE_WIDTH_PX) / longest
    used = [number for number in range(len(legend)) if any(parts[number] for parts in amounts)]
    head = [draw_text(0, 14, "start", title, bold=True)]
    x = float(NAME_WIDTH_PX)
    for number in used:
        name, color = legend[number]
        head.append(
            f'<rect x="{x}" y="26" width="10" height="10" fill="{color}"/>{draw_text(x + 14, 35, "start", name)}'
        )
        x += 90
    lines = [
        _draw_bar(bar, parts, 46 + number * ROW_HEIGHT_PX, scale, legend)
        for number, (bar, parts) in enumerate(zip(bars, amounts, strict=True))
    ]
    return build_svg(title, BAR_WIDTH_PX, 54 + len(bars) * ROW_HEIGHT_PX, "".join([*head, *lines]))


def _draw_bar(bar: Bar, parts: Sequence[float], y: float, scale: float, legend: Sequence[tuple[str, str]]) -> str:
    name = bar.name if len(bar.name) <= MAX_NAME_CHARACTERS else f"{bar.name[: MAX_NAME_CHARACTERS - 1]}…"
    drawn, x = [draw_text(NAME_WIDTH_PX - 8, y + 11, "end", name)], float(NAME_WIDTH_PX)
    for amount, (part, color) in zip(parts, legend, strict=True):
        if not amount:
            continue
        width = max(amount * scale, MIN_PART_PX)
        what = f"<title>{escape(f'{part} {amount:.3g} s')}</title>"
        drawn.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT_PX}" fill="{color}">{what}</rect>'
        )
        x += width
    return "".join([*drawn, draw_text(round(x + 6, 1), y + 11, "start", bar.note)])


def _to_px(point: Point, x_axis: Axis, y_axis: Axis) -> Point:
    x = LEFT_PX + x_axis.place(point[0]) * (WIDTH_PX - LEFT_PX - RIGHT_PX)
    y = HEIGHT_PX - BOTTOM_PX - y_axis.place(point[1]) * (HEIGHT_PX - TOP_PX - BOTTOM_PX)
    return round(x, 1), round(y, 1)


def _draw_line(line: Sequence[Point], x_axis: Axis, y_axis: Axis, is_best: bool) -> str:
    color, width, opacity = (BEST_COLOR, 2.5, 1) if is_best else (LINE_COLOR, 1.2, 0.7)
    places = [_to_px(point, x_axis, y_axis) for point in line]
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="{4 if is_best else 3}" fill="{color}" opacity="{opacity}"/>' for x, y in places
    )
    if len(places) == 1:
        return dots
    path = " ".join(f"{x},{y}" for x, y in places)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}" opacity="{opacity}"/>{dots}'


def _draw_axes(title: str, x_axis: Axis, y_axis: Axis) -> str:
    bottom, right = HEIGHT_PX - BOTTOM_PX, WIDTH_PX - RIGHT_PX
    frame = f'<path d="M{LEFT_PX} {TOP_PX}V{bottom}H{right}" fill="none" stroke="currentColor" opacity="0.5"/>'
    return frame + "".join(
        (
            draw_text(LEFT_PX, 14, "start", title, bold=True),
            draw_text(LEFT_PX, bottom + 14, "start", f"{x_axis.low:.4g}"),
            draw_text(right, bottom + 14, "end", f"{x_axis.high:.4g}"),
            draw_text((LEFT_PX + right) // 2, bottom + 30, "middle", _describe(x_axis)),
            draw_text(LEFT_PX - 6, bottom, "end", f"{y_axis.low:.4g}"),
            draw_text(LEFT_PX - 6, TOP_PX + 8, "end", f"{y_axis.high:.4g}"),
            draw_text(right, 14, "end", _describe(y_axis)),
        )
    )


def _describe(axis: Axis) -> str:
    return f"{axis.name} (logarithmic)" if axis.is_log else axis.name


def draw_text(x: float, y: float, anchor: str, text: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="currentColor"{weight}>{escape(text)}</text>'
