"""The page of a search: leaderboard and plots, well-formed, escaped, readable on dark."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.views.plots import build_plot
from f.flexcore.lib.views.search_pages import render_search_page
from f.flexcore.ray.render_search import main

Json = dict[str, Any]


def trial(number: int, score: float | None, rate: float, **more: Any) -> Json:
    curve = [] if score is None else [[1 / 9, score + 2], [1.0, score]]
    parameters = {"learning_rate": rate, "booster": "<dart>", "max_depth": 3 + number}
    return {
        "trial": number,
        "parameters": parameters if number else {},
        "score": score,
        "seconds": 2.5,
        "ended_early": False,
        "curve": curve,
    } | more


def found(**change: Any) -> Json:
    trials = [trial(2, 1.5, 0.01), trial(0, 2.0, 0), trial(1, 3.0, 1, ended_early=True)]
    trials.append(trial(3, None, 0.3, error="ValueError: <no>"))
    return {
        "trials": trials,
        "parameters": trials[0]["parameters"],
        "metric": "root_mean_squared_error",
        "score": 1.5,
        "first_score": 2.0,
        "stopped": False,
        "stopped_by": "",
        "cost_usd": None,
    } | change


def test_the_leaderboard_shows_every_trial_and_why_one_failed() -> None:
    page = render_search_page(found(stopped_by="cost", cost_usd=0.25))
    root = ElementTree.fromstring(page)
    rows = ["".join(cell.itertext()) for cell in root.iter("td")]
    assert rows[:4] == ["1", "1.5", "2.5 s", "learning_rate 0.01, booster <dart>, max_depth 5"]
    assert "as they are" in rows and "ended early" in rows and "ValueError: <no>" in rows
    title = "".join(next(root.iter("p")).itertext())
    assert title.startswith("root mean squared error 1.5 (as it was asked for: 2): 4 trials, 1 of them ended early")
    assert "its cost was spent; $0.25" in title


def test_each_number_that_was_drawn_has_a_plot_and_no_color_of_text_is_fixed() -> None:
    root = ElementTree.fromstring(render_search_page(found()))
    plots = list(root.iter("svg"))
    titles = [next(plot.iter("title")).text for plot in plots]
    assert titles == ["Each trial by its parts", "learning_rate", "max_depth"]
    assert {item.get("fill") for item in root.iter("text")} == {"currentColor"}
    # Two trials have a rate and a score; the best one stands out, above the others.
    dots = list(plots[1].iter("circle"))
    assert len(dots) == 2 and dots[-1].get("r") == "4"
    assert any("logarithmic" in str(item.text) for item in plots[1].iter("text"))


def test_a_long_leaderboard_is_cut() -> None:
    trials = [trial(number, float(number), 0.1) for number in range(1, 40)]
    page = render_search_page(found(trials=trials))
    assert page.count("<tr>") == 21 and "19 more are not shown" in page


@pytest.mark.parametrize("points", [[], [[]], [[(float("nan"), 1.0)]]])
def test_a_plot_of_nothing_is_nothing(points: Any) -> None:
    assert build_plot("x", "x", "y", points) == ""


def test_a_plot_of_one_value_stands_in_the_middle() -> None:
    (dot,) = ElementTree.fromstring(build_plot("x", "x", "y", [[(2.0, 2.0)]])).iter("circle")
    assert (dot.get("cx"), dot.get("cy")) == ("236.0", "114.0")


def test_the_step_makes_the_page_of_a_search() -> None:
    assert main({"data": found()})["html"] == render_search_page(found())


@pytest.mark.parametrize("search", [{}, {"data": {}}, {"data": {"trials": [1]}}, None])
def test_what_is_no_search_is_refused(search: Any) -> None:
    with pytest.raises(InvalidInput, match="search is not the result of a search"):
        main(search)
