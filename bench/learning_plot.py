"""Draws docs/learning.svg from the code that it is about: a curve with its interval, a jump of its level, a success
rate. Deterministic.

    uv run python -m bench.learning_plot > docs/learning.svg
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from f.flexcore.lib.core.workloads import Run, Workload
from f.flexcore.lib.selection.forecast import Estimate, Forecasts
from f.flexcore.lib.selection.forecast_fit import fit_forecasts

GB = 10**9
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=365)
RUNS, SLOW_RUNS, SLOWDOWN = 90, 30, 3.0
SIZES_GB = (0.5, 500.0)
HEIGHT, MARGIN, PANEL = 330, 56, 296
WIDTH = 3 * PANEL + 4 * MARGIN
BLUE, GRAY, RED, INK = "#2563eb", "#9ca3af", "#dc2626", "#1f2937"


def history() -> list[Run]:
    """90 runs of 60 s + 4 s for each GB; the first 30 took three times as long, large ones often fail, one is wrong."""
    chance = random.Random(7)
    runs = []
    for number in range(RUNS):
        gb = math.exp(chance.uniform(*map(math.log, SIZES_GB)))
        seconds = (60 + 4 * gb) * math.exp(chance.gauss(0, 0.25)) * (SLOWDOWN if number < SLOW_RUNS else 1)
        failed = chance.random() < 0.6 / (1 + (60 / gb) ** 2)
        runs.append(
            Run(
                workflow_type="sync",
                runtime="ray",
                data_size_bytes=round(gb * GB),
                started_at=START + timedelta(days=number),
                duration_s=seconds / 400 if number == RUNS - 5 else seconds,
                success=not failed,
            )
        )
    return runs


def estimate(model: Forecasts, gb: float) -> Estimate:
    return model.estimate(Workload(workflow_type="sync", data_size=round(gb * GB), runtimes=["ray"]), "ray")


def quantile(model: Forecasts, gb: float, probability: float) -> float:
    duration = estimate(model, gb).duration
    if duration is None:
        raise ValueError("the history is too short for a curve")
    return duration.quantile(probability)


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot. x and y: from values to 0..1."""

    number: int
    title: str
    x: Callable[[float], float]
    y: Callable[[float], float]

    @property
    def left(self) -> int:
        return MARGIN + self.number * (PANEL + MARGIN)

    def place_x(self, value: float) -> float:
        return self.left + PANEL * self.x(value)

    def place_y(self, value: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * self.y(value)

    def frame(self, xs: dict[float, str], ys: dict[float, str], caption: str) -> str:
        bottom = HEIGHT - MARGIN
        box = f'x="{self.left}" y="{MARGIN}" width="{PANEL}" height="{bottom - MARGIN}"'
        parts = [
            f'<rect {box} fill="none" stroke="{GRAY}"/>',
            write(self.left, MARGIN - 14, self.title, weight="bold"),
            write(self.left + PANEL / 2, bottom + 36, caption, anchor="middle"),
        ]
        parts += [write(self.place_x(value), bottom + 18, text, anchor="middle") for value, text in xs.items()]
        parts += [write(self.left - 6, self.place_y(value) + 4, text, anchor="end") for value, text in ys.items()]
        return "".join(parts)

    def dots(self, points: Sequence[tuple[float, float]], color: str) -> str:
        placed = [(self.place_x(x), self.place_y(y)) for x, y in points]
        return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>' for x, y in placed)

    def _path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.place_x(x):.1f},{self.place_y(y):.1f}" for x, y in points)

    def line(self, points: Sequence[tuple[float, float]], color: str, dash: str = "") -> str:
        placed = self._path(points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<polyline points="{placed}" fill="none" stroke="{color}" stroke-width="1.6"{dashed}/>'

    def band(self, low: Sequence[tuple[float, float]], high: Sequence[tuple[float, float]]) -> str:
        placed = self._path([*low, *reversed(high)])
        return f'<polygon points="{placed}" fill="{BLUE}" fill-opacity="0.15"/>'


def write(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{INK}">{text}</text>'


def log_axis(low: float, high: float) -> Callable[[float], float]:
    return lambda value: min(max((math.log(value) - math.log(low)) / (math.log(high) - math.log(low)), 0.0), 1.0)


def linear_axis(low: float, high: float) -> Callable[[float], float]:
    return lambda value: (value - low) / (high - low)


SIZE_TICKS = {1.0: "1", 10.0: "10", 100.0: "100"}


def draw_curve(model: Forecasts, runs: list[Run], sizes: Sequence[float]) -> str:
    panel = Panel(0, "Duration in seconds", log_axis(0.3, 1000), log_axis(10, 10000))
    good = [
        (index, (run.data_size_bytes or 0) / GB, run.duration_s or 0) for index, run in enumerate(runs) if run.success
    ]
    p10, p50, p90 = ([(gb, quantile(model, gb, level)) for gb in sizes] for level in (0.1, 0.5, 0.9))
    knee = math.exp(_curve_knee(model)) / GB
    return "".join(
        [
            panel.frame(
                SIZE_TICKS, {10: "10", 100: "100", 1000: "1000"}, "size in GB; band: p10 to p90; dashed: the knee"
            ),
            panel.band(p10, p90),
            panel.line(p50, BLUE),
            panel.line([(knee, 10), (knee, 10000)], GRAY, "4 4"),
            panel.dots([(gb, seconds) for index, gb, seconds in good if index < SLOW_RUNS], GRAY),
            panel.dots([(gb, seconds) for index, gb, seconds in good if index >= SLOW_RUNS], BLUE),
        ]
    )


def _curve_knee(model: Forecasts) -> float:
    curve = model.runtimes["ray"].duration
    return curve.knee if curve else 0.0


def draw_drift(model: Forecasts, runs: list[Run]) -> str:
    panel = Panel(1, "Duration / forecast of now", linear_axis(0, RUNS), log_axis(0.2, 8))
    good = [run for run in runs if run.success]
    ratios = [(run.duration_s or 0) / quantile(model, (run.data_size_bytes or 0) / GB, 0.5) for run in good]
    # As many good runs as the model says came before the jump of the level.
    jump = model.runtimes["ray"].forgotten
    points = list(enumerate(ratios))
    return "".join(
        [
            panel.frame(
                {0: "0", 30: "30", 60: "60"},
                {0.25: "¼", 1: "1", 4: "4"},
                "successful run; dashed: the jump that was found",
            ),
            panel.line([(0, 1), (len(points), 1)], BLUE),
            panel.line([(jump, 0.2), (jump, 8)], RED, "4 4"),
            panel.dots(points[:jump], GRAY),
            panel.dots(points[jump:], BLUE),
        ]
    )


def draw_success(model: Forecasts, runs: list[Run], sizes: Sequence[float]) -> str:
    panel = Panel(2, "Probability of success", log_axis(0.3, 1000), linear_axis(-0.1, 1.1))
    outcomes = [((run.data_size_bytes or 0) / GB, 1.0 if run.success else 0.0) for run in runs]
    return "".join(
        [
            panel.frame(
                SIZE_TICKS, {0: "0", 0.5: "½", 1: "1"}, "size in GB; dots: runs that succeeded (1) or failed (0)"
            ),
            panel.dots(outcomes, GRAY),
            panel.line([(gb, estimate(model, gb).success or 0.0) for gb in sizes], BLUE),
        ]
    )


def draw() -> str:
    runs = history()
    model = fit_forecasts(runs, NOW)
    sizes = [0.3 * 10 ** (number / 20) for number in range(71)]
    panels = [draw_curve(model, runs, sizes), draw_drift(model, runs), draw_success(model, runs, sizes)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
            ' font-family="Helvetica, Arial, sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *panels,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    print(draw(), end="")
