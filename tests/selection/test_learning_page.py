"""docs/learning.md says what the code says: names, constants, half-lives, and the plot."""

from __future__ import annotations

import ast
import inspect
import math
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bench.learning_plot import draw
from bench.worlds import WORLDS
from f.flexcore.lib.selection import drift

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "learning.md").read_text(encoding="utf-8")
SELECTION = "f.flexcore.lib.selection"
LEARNING = (
    "calibration",
    "candidate_score",
    "comparison",
    "cost_regression",
    "drift",
    "forecast",
    "forecast_fit",
    "log_distribution",
    "robust_stats",
    "rules",
    "selector",
    "success_model",
    "training_data",
)
NAMES = sorted(set(re.findall(rf"`((?:{'|'.join(LEARNING)})\.[\w.]+)`", PAGE)))
CONSTANTS = re.findall(r"^\| `(\w+\.[A-Z_]+)` \| (.+?) \|", PAGE, re.MULTILINE)
# Limits that keep garbage finite, and what the text itself is about.
UNLISTED = {"MIN_SCALE", "WINSOR_ROUNDS", "MAX_EXPONENT", "MAX_EXTRA_ROWS", "MAX_LOG_ODDS", "NOTED_EXTRAPOLATION"}


def resolve(name: str) -> Any:
    """The module's value, or the class's field, that a name of the page stands for."""
    module, *parts = name.split(".")
    found: Any = import_module(f"{SELECTION}.{module}")
    for part in parts:
        fields = (
            {**inspect.get_annotations(found), **getattr(found, "model_fields", {})} if isinstance(found, type) else {}
        )
        if part in fields:
            return fields[part]
        if isinstance(found, type) and not hasattr(found, part) and f"self.{part} = " in inspect.getsource(found):
            return part
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_name_on_the_page_is_one_of_the_code(name: str) -> None:
    resolve(name)


@pytest.mark.parametrize(("name", "value"), CONSTANTS, ids=[name for name, _ in CONSTANTS])
def test_every_constant_on_the_page_has_the_value_of_the_code(name: str, value: str) -> None:
    assert ast.literal_eval(value) == resolve(name)


@pytest.mark.parametrize("module", ["calibration", "cost_regression", "drift", "robust_stats", "success_model"])
def test_every_constant_of_the_learning_code_is_on_the_page(module: str) -> None:
    values = vars(import_module(f"{SELECTION}.{module}"))
    constants = {name for name in values if name.isupper() and not name.startswith("_")}
    missing = {name for name in constants - UNLISTED if f"`{module}.{name}`" not in PAGE}
    assert missing <= {"MIN_NOISE", "NEWTON_ROUNDS", "MAX_NEWTON_STEP"}


def test_the_half_life_of_each_smoothing_rate_is_on_the_page() -> None:
    rows = re.findall(r"^\| (0\.\d+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert [float(rate) for rate, _ in rows] == list(drift.SMOOTHING_RATES)
    assert [float(runs) for _, runs in rows] == [
        round(math.log(0.5) / math.log(1 - rate), 1) for rate in drift.SMOOTHING_RATES
    ]


def test_the_plot_is_what_the_code_draws() -> None:
    assert (DOCS / "learning.svg").read_text(encoding="utf-8") == draw(), (
        "uv run python -m bench.learning_plot > docs/learning.svg"
    )


def test_the_page_has_its_plot_and_the_number_of_simulated_worlds() -> None:
    assert "](learning.svg)" in PAGE and f"{len(WORLDS)} simulated worlds" in PAGE
    assert len(NAMES) > 80 and len(CONSTANTS) > 45, "the tables are read"
