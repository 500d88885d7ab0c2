"""The evaluator itself; what expressions mean inside flows is told by tests/wmlocal/fidelity."""

from __future__ import annotations

import time
from typing import Any

import pytest

from wmlocal.engine import expressions
from wmlocal.engine.expressions import ExpressionError, Scope, evaluate, is_true


class Named:
    previous_id = "b"

    def of_step(self, step: str) -> Any:
        return {"a": {"k": 1}, "l": [5, 6]}.get(step)

    def at_path(self, step: str, path: list[str]) -> Any:
        return [step, *path]

    def user_state(self, key: str) -> Any:
        return f"state of {key}"


class Known:
    def variable(self, path: str) -> str:
        if path != "f/x/v":
            raise ValueError(f"Not found: {path}")
        return "v"

    def resource(self, path: str) -> Any:
        return {"path": path}


SCOPE = Scope({"n": 2}, {"E": 1}, Known(), Named(), {"previous_result": 9})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("results.a.k.j", ["a", "k", "j"]),
        ("results.l[1].k", ["l", "1", "k"]),
        ("results.b", 9),
        ("results.l.length", 2),
        ("results.a.k + 1", 2),
        ("results.b + 1", 10),
        ("variable('f/x/v') + '!'", "v!"),
        ("resource('f/x/r').path", "f/x/r"),
        ("[variable('f/x/v'), variable('f/x/v')]", ["v", "v"]),
        ("flow_user_state('k')", "state of k"),
        ("flow_env.E + flow_input.n", 3),
        ("await Promise.all([1, 2])", None),
        ("return await Promise.all([1, 2])", [1, 2]),
    ],
)
def test_an_expression_gives(expression: str, value: Any) -> None:
    assert evaluate(expression, SCOPE) == value


def test_a_missing_variable_throws_inside_javascript() -> None:
    with pytest.raises(ExpressionError, match="Not found: f/x/none"):
        evaluate("variable('f/x/none')", SCOPE)


def test_truth_is_that_of_javascript() -> None:
    assert is_true("'false'", SCOPE) and not is_true("''", SCOPE) and not is_true("flow_input.none", SCOPE)


def test_an_endless_expression_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "TIME_LIMIT_S", 0.2)
    begun = time.monotonic()
    with pytest.raises(ExpressionError, match="took too long"):
        evaluate("(() => { while (true) {} })()", SCOPE)
    assert time.monotonic() - begun < 10


def test_memory_is_limited() -> None:
    with pytest.raises(ExpressionError, match="out of memory"):
        evaluate("(() => { const a = []; while (true) a.push('x'.repeat(1000) + a.length) })()", SCOPE)


def test_an_expression_costs_little() -> None:
    begun = time.monotonic()
    for _ in range(50):
        evaluate("flow_input.n + 1", SCOPE)
    assert (time.monotonic() - begun) / 50 < 0.02
