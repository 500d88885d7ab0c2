"""What the count of mutants makes of mutmut's words, and that what it names is there."""

from __future__ import annotations

import tomllib

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
    found = mutants.count(mutants.parse_results(RESULTS))
    assert (found["mutants"], found["noticed"], found["score"]) == (4, 2, 0.5)
    assert found["survived"] == ["f.x.a__mutmut_2", "f.x.a__mutmut_4"]
    assert mutants.add([found, mutants.count({})]) == {"mutants": 4, "noticed": 2, "score": 0.5}


def test_what_was_not_measured_has_no_score() -> None:
    assert mutants.count({})["score"] is None
    assert "not measured: no such file" in mutants.describe({"error": ["no such file"], **mutants.count({})})


def test_every_module_and_test_that_is_named_is_there() -> None:
    for name, tests in mutants.TESTS.items():
        assert (mutants.ROOT / mutants.LIB / f"{name}.py").is_file(), name
        assert [test for test in tests if not (mutants.ROOT / "tests" / test).is_file()] == []
        configuration = tomllib.loads(mutants.write_configuration(name))["tool"]["mutmut"]
        assert configuration["only_mutate"] == [f"f/flexcore/lib/{name}.py"]
