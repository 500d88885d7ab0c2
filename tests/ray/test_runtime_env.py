"""A runtime environment is checked before anything is submitted."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.ray.program_job import RUN_PROGRAM, ProgramRequest


def parse(**fields: Any) -> ProgramRequest:
    return RUN_PROGRAM.parse({"program": "pass", **fields})


URI = "s3://bucket/module.zip"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"env_vars": {"A": "1", "EMPTY": ""}},
        {"env_vars": {}},
        {"config": {"setup_timeout_seconds": 600, "eager_install": False, "log_files": []}},
        {"config": {"setup_timeout_seconds": -1}},
        {"py_modules": [URI, "https://x/y.whl?token=1", "gcs://_ray_pkg_1.zip"]},
        {"conda": "pytorch_p36"},
        {"conda": {"dependencies": ["pip", {"pip": ["pandas"]}]}},
        {"py_executable": "uv run"},
        {"excludes": ["*.csv"], "worker_process_setup_hook": "module.setup"},
        {"_ray_commit": "abc"},
    ],
)
def test_what_ray_takes_is_submitted_as_it_is(environment: dict[str, Any]) -> None:
    assert parse(runtime_env=environment).runtime_env == environment


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"env_vars": {"N": 4}}, r"env_vars\.N is a number: write it as text"),
        ({"env_vars": {"N": 0.5}}, r"env_vars\.N is a number"),
        ({"env_vars": {"N": True}}, r"env_vars\.N is true or false"),
        ({"env_vars": {"N": None}}, r"env_vars\.N is null: write it as text in quotes, or leave it out"),
        ({"env_vars": {"N": ["a"]}}, r"env_vars\.N is a list"),
        ({"env_vars": {"A=B": "x"}}, "not an environment variable"),
        ({"env_vars": {"A": "x\0"}}, r"env_vars\.A holds a NUL"),
        ({"env_vars": ["A=1"]}, "env_vars must be a mapping"),
        ({"env_vars": None}, "env_vars must be a mapping"),
        ({"conda": {"dependencies": "pandas"}}, r"conda\.dependencies must be a list"),
        ({"env_var": {"A": "1"}}, "env_var is unknown; did you mean env_vars?"),
        ({"Env_Vars": {"A": "1"}}, "did you mean env_vars?"),
        ({"workingdir": "."}, "workingdir is unknown; did you mean working_dir?"),
        ({"colour": 1}, r"colour is unknown \(there are: conda"),
        ({"config": {"setup_timeout_seconds": "10m"}}, "must be a whole number of seconds"),
        ({"config": {"setup_timeout_seconds": "600"}}, "must be a whole number of seconds"),
        ({"config": {"setup_timeout_seconds": 0}}, "must be a whole number of seconds"),
        ({"config": {"setup_timeout_seconds": True}}, "must be a whole number of seconds"),
        ({"config": {"setup_timeout_s": 5}}, r"config\.setup_timeout_s is unknown; did you mean setup_timeout_seconds"),
        ({"config": {"eager_install": "yes"}}, "must be true or false"),
        ({"config": 600}, "config must be a mapping"),
        ({"working_dir": "/nonexistent"}, "working_dir is set by flexcore; use program"),
        ({"pip": ["a"]}, "pip is set by flexcore; use packages"),
        ({"uv": ["a"]}, "uv is set by flexcore; use packages"),
        ({"py_modules": ["/nonexistent/module"]}, r"py_modules\.0 is not the URI of an archive"),
        ({"py_modules": [URI, "s3://bucket/folder"]}, r"py_modules\.1 is not the URI of an archive"),
        ({"py_modules": URI}, "py_modules must be a list of texts"),
        ({"conda": ["a"]}, "conda must be the name"),
        ({"conda": "environment.yaml"}, r"conda names the file environment\.yaml"),
        ({"image_uri": "x/y:1"}, "image_uri cannot be used"),
        ({"container": {"image": "x"}}, "container cannot be used"),
        ({"excludes": "*.csv"}, "excludes must be a list of texts"),
        ({"py_executable": 3}, "py_executable must be a text"),
    ],
)
def test_what_ray_would_end_in_a_traceback_with_is_told_by_its_field(environment: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        parse(runtime_env=environment)
    assert caught.value.subject == "runtime_env"


def test_packages_are_installed_in_one_way() -> None:
    with pytest.raises(InvalidInput, match=r"packages and runtime_env\.conda cannot both be given"):
        parse(packages=["pandas"], runtime_env={"conda": "base"})


def test_no_value_of_a_variable_appears_in_an_error() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(runtime_env={"env_vars": {"PIN": 741852963}})
    assert "741852963" not in str(caught.value)
