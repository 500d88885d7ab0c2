"""Which rows are held out: the same ones whatever their order, some of each class, and some of the equal ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from f.flexcore.lib.ray.remote.dataset import HASH, ROW, make_plan, prepare_table, select_features
from f.flexcore.lib.ray.remote.holdout import hold_out, select_part
from f.flexcore.lib.ray.remote.leakage import find_leaks
from f.flexcore.lib.ray.remote.shared_storage import Problem
from f.flexcore.lib.ray.remote.training_data import read_target
from tests.ray.data import flowers
from tests.ray.test_table import arrow, profiled

Rows = list[dict[str, Any]]


def halves(rows: Rows, target: str, parts: int = 1, fraction: float = 0.25) -> tuple[Any, Any, list[str]]:
    """(rows learned from, rows held out, notes) of rows that arrive in several parts."""
    plan = make_plan(profiled(rows), target, [], "auto")
    size = len(rows) // parts + 1
    tables = [prepare_table(arrow(rows[at : at + size]), plan, at << 28) for at in range(0, len(rows), size)]
    whole = pa.concat_tables(tables)
    classes = whole[target].to_pylist() if plan.task == "classification" else None
    held, notes = hold_out(whole[HASH].to_numpy(), whole[ROW].to_numpy(), classes, fraction)
    seen, test = (pa.concat_tables([select_part(table, held, side) for table in tables]) for side in (False, True))
    assert len(seen) + len(test) == len(rows)
    return seen, test, notes


def contents(table: Any) -> Counter[Any]:
    return Counter(tuple(row.values()) for row in table.drop_columns([ROW]).to_pylist())


def test_the_same_rows_are_held_out_whatever_their_order_and_parts() -> None:
    rows = flowers(200)
    _, first, _ = halves(rows, "size")
    assert len(first) == 50
    assert contents(halves(rows[::-1], "size", 7)[1]) == contents(first)


def passengers() -> Rows:
    """2,000 rows of a dozen different ones: who survived follows from sex and class in most of them."""
    return [
        {"sex": sex, "class": level, "survived": died}
        for sex, level, died, count in [
            ("f", 1, 0, 10),
            ("f", 1, 1, 240),
            ("f", 2, 0, 30),
            ("f", 2, 1, 220),
            ("f", 3, 0, 120),
            ("f", 3, 1, 130),
            ("m", 1, 0, 220),
            ("m", 1, 1, 130),
            ("m", 2, 0, 300),
            ("m", 2, 1, 50),
            ("m", 3, 0, 450),
            ("m", 3, 1, 100),
        ]
        for _ in range(count)
    ]


def test_of_equal_rows_some_are_held_out_and_some_are_not() -> None:
    rows = passengers()
    seen, test, notes = halves(rows, "survived", 5, 0.2)
    assert notes == []
    assert abs(len(test) - 400) <= 2
    assert len(contents(seen)) == 12 and len(contents(test)) >= 10
    assert contents(halves(rows[::-1], "survived", 2, 0.2)[1]) == contents(test)
    share = {
        name: sum(row["survived"] == "1" for row in half.to_pylist()) / len(half)
        for name, half in (("seen", seen), ("test", test))
    }
    assert share["seen"] == pytest.approx(share["test"], abs=0.01)


def test_a_single_repeated_row_and_another_still_make_two_halves() -> None:
    rows = [{"x": 1, "y": 2.0}] * 50 + [{"x": 2, "y": 3.0}] * 30 + [{"x": 2, "y": 4.5}] * 20
    seen, test, _ = halves(rows, "y", 3, 0.2)
    assert len(test) == 20 and len(seen) == 80


def test_each_class_stands_on_both_sides_and_a_single_row_is_learned_from() -> None:
    rows = [{"x": n, "y": "often" if n < 90 else "seldom" if n < 98 else "twice"} for n in range(100)]
    rows.append({"x": 100, "y": "once"})
    seen, test, notes = halves(rows, "y", 2, 0.2)
    assert set(test["y"].to_pylist()) == {"often", "seldom", "twice"}
    assert set(seen["y"].to_pylist()) == {"often", "seldom", "twice", "once"}
    assert notes == ["The class 'once' has a single row: it is learned from, and not among the held-out rows"]


def test_a_held_out_half_of_one_class_is_told() -> None:
    _, test, notes = halves([{"x": n, "y": "b" if n == 7 else "a"} for n in range(40)], "y")
    assert set(test["y"].to_pylist()) == {"a"}
    assert "The held-out rows are of one class, so their area under the curve is not defined" in notes


@pytest.mark.parametrize(
    ("count", "classes", "kind", "text"),
    [
        (0, None, "EmptyData", "Only 0 rows"),
        (9, None, "DataError", "Only 9 rows"),
        (12, [str(number) for number in range(12)], "DataError", "single row"),
    ],
)
def test_too_few_rows_are_told(count: int, classes: Any, kind: str, text: str) -> None:
    hashes = np.arange(count, dtype="uint64")
    with pytest.raises(Problem, match=text) as caught:
        hold_out(hashes, hashes, classes, 0.2)
    assert caught.value.flexcore["type"] == kind


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_neither_side_is_ever_empty(fraction: float) -> None:
    hashes = np.arange(10, dtype="uint64")
    held, _ = hold_out(hashes, hashes, None, fraction)
    assert 0 < len(held) < 10


def leaking(rows: Rows, target: str) -> set[str]:
    plan = make_plan(profiled(rows), target, [], "auto")
    table = prepare_table(arrow(rows), plan).to_pandas()
    notes = find_leaks(select_features(table, plan), read_target(table, plan), plan)
    assert all("nearly equals the target" in note for note in notes)
    return {note.split(" ")[0] for note in notes}


def test_a_feature_that_nearly_equals_the_target_is_told() -> None:
    numbers = [
        {
            "price": float(n % 37),
            "with_tax": (n % 37) * 1.19 + 0.001 * (n % 3),
            "order": (n % 37) ** 3,
            "rooms": n % 7,
            "band": f"band {n % 37}",
            "city": f"city {n % 5}",
        }
        for n in range(400)
    ]
    assert leaking(numbers, "price") == {"with_tax", "order", "band"}
    classes = [
        {
            "churned": "yes" if n % 3 else "no",
            "closed": bool(n % 3),
            "status": "left" if n % 3 else "here",
            "score": n % 3 * 10 + n % 5,
            "age": n % 40,
            "city": f"city {n % 5}",
        }
        for n in range(400)
    ]
    assert leaking(classes, "churned") == {"closed", "status", "score"}


def test_a_few_rows_or_many_categories_are_no_proof_of_a_leak() -> None:
    assert leaking([{"x": n, "y": n * 1.5} for n in range(20)], "y") == set()
    assert leaking([{"name": f"n{n // 2}", "y": (n // 2 * 7) % 11 + 0.5} for n in range(90)], "y") == set()
