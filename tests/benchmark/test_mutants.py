"""What the count of mutants makes of mutmut's words, and that what it names is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from bench import mutants

RESULTS = """
    f.x.a__mutmut_1: killed
    f.x.a__mutmut_2: survived
    f.x.a__mutmut_3: timeout
    f.x.a__mutmut_4: no tests
    f.x.a__mutmut_5: caught by type check
2.5 mutations/second
"""


def test_a_mutant_that_no_test_runs_has_survived_and_one_that_hangs_was_noticed() -> None:
    found = mutants.count(mutants.parse_results(RESULTS), 4)
    assert (found["mutants"], found["tried"], found["noticed"], found["score"]) == (4, 4, 2, 0.5)
    assert found["survived"] == ["f.x.a__mutmut_2", "f.x.a__mutmut_4"]
    assert mutants.describe(found).split() == ["2", "of", "4", "50.0%"]


def test_what_was_not_measured_has_no_score_and_counts_for_nothing() -> None:
    failed = {"error": ["no such file"], **mutants.count({}, 0)}
    assert failed["score"] is None and "not measured: no such file" in mutants.describe(failed)
    measured = mutants.count({"a": "killed"}, 1)
    assert mutants.add([measured, failed])["score"] == 1
    assert mutants.add([failed])["score"] is None


def test_a_module_counts_by_its_mutants_and_not_by_how_many_of_them_were_tried() -> None:
    whole = mutants.count({str(number): "killed" for number in range(100)}, 100)
    sample = mutants.count({str(number): "killed" if number < 10 else "survived" for number in range(20)}, 300)
    total = mutants.add([whole, sample])
    assert (total["mutants"], total["tried"], total["noticed"]) == (400, 120, 110)
    assert total["score"] == pytest.approx((100 + 0.5 * 300) / 400)
    assert mutants.variance(whole) == 0
    assert total["spread"] == pytest.approx(0.75 * mutants.variance(sample) ** 0.5)
    assert "± 21.2% (20 of 300 tried)" in mutants.describe(sample)
    assert "± 15.9% (120 of 400 tried)" in mutants.describe(total)


def test_a_sample_without_a_survivor_is_no_certainty() -> None:
    assert mutants.variance(mutants.count({str(number): "killed" for number in range(10)}, 100)) > 0


def test_a_sample_is_the_same_each_time_and_part_of_a_larger_one() -> None:
    names = [f"m{number}" for number in range(50)]
    assert mutants.draw(names, None, "core/x") == mutants.draw(names, 50, "core/x") == names
    small, large = (mutants.draw(names, size, "core/x") for size in (5, 20))
    assert large[:5] == small == mutants.draw(names, 5, "core/x")
    assert small != mutants.draw(names, 5, "core/y")


def test_what_a_mutant_changes_is_told_by_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "def x_a__mutmut_orig(b=1):\n    c = b\n    return c\n"
        "def x_a__mutmut_1(b=2):\n    c = b\n    return c\n"
        "def x_a__mutmut_2(b=1):\n    c = None\n    return c\n"
    )
    assert mutants.read_changes(path, ["f.x.x_a__mutmut_1", "f.x.x_a__mutmut_2"]) == {
        "f.x.x_a__mutmut_1": "-def (b=1):\n+def (b=2):",
        "f.x.x_a__mutmut_2": "-    c = b\n+    c = None",
    }


def test_every_module_and_test_that_is_named_is_there() -> None:
    for name, tests in mutants.TESTS.items():
        assert (mutants.ROOT / mutants.LIB / f"{name}.py").is_file(), name
        assert [test for test in tests if not (mutants.ROOT / "tests" / test).is_file()] == []
    configuration = tomllib.loads(mutants.write_configuration(["core/driver", "core/errors"]))["tool"]["mutmut"]
    assert configuration["only_mutate"] == ["f/flexcore/lib/core/driver.py", "f/flexcore/lib/core/errors.py"]
    assert configuration["pytest_add_cli_args_test_selection"] == [
        "tests/core/test_deferral.py",
        "tests/core/test_driver.py",
        "tests/core/test_errors.py",
    ]
