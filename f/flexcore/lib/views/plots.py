# requirements: flexcore_base
"""Line and dot plots as plain SVG for Windmill's job page. Pure.

Axes and words take the page's own color of text, so that they can be read on light and on dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH_PX, HEIGHT_PX = 420, 240
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 64, 12, 28, 40
LINE_COLOR, BEST_COLOR = "#6b8fd6", "#e08a1e"
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
    return (
        f'<svg viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" width="{WIDTH_PX}" height="{HEIGHT_PX}" role="img" '
        f'style="color:inherit;font:11px sans-serif;margin:8px 16px 8px 0">'
        f"<title>{escape(title)}</title>{_draw_axes(title, x_axis, y_axis)}{drawn}</svg>"
    )


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
            _draw_text(LEFT_PX, 14, "start", title, bold=True),
            _draw_text(LEFT_PX, bottom + 14, "start", f"{x_axis.low:.4g}"),
            _draw_text(right, bottom + 14, "end", f"{x_axis.high:.4g}"),
            _draw_text((LEFT_PX + right) // 2, bottom + 30, "middle", _describe(x_axis)),
            _draw_text(LEFT_PX - 6, bottom, "end", f"{y_axis.low:.4g}"),
            _draw_text(LEFT_PX - 6, TOP_PX + 8, "end", f"{y_axis.high:.4g}"),
            _draw_text(right, 14, "end", _describe(y_axis)),
        )
    )


def _describe(axis: Axis) -> str:
    return f"{axis.name} (logarithmic)" if axis.is_log else axis.name


def _draw_text(x: float, y: float, anchor: str, text: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="currentColor"{weight}>{escape(text)}</text>'
