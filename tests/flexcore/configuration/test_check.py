"""`flexcore config check`: every problem, each at its line, and nothing that is a secret in any of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexcore.configuration.document import read
from flexcore.configuration.files import check, read_configuration
from flexcore.configuration.models import interval
from tests.flexcore.configuration.conftest import ENVIRONMENT, FLEXCORE, WINDMILL

NINE = ",".join(["*%s"] * 9)


def said(root: Path, environment: dict[str, str] | None = None) -> list[str]:
    return [str(problem) for problem in check(root, ENVIRONMENT if environment is None else environment).problems]


def test_good_files_have_no_problem(configure: Callable[..., Path]) -> None:
    found = check(configure(), ENVIRONMENT)
    assert not found.problems and found.windmill.workers.count == 3
    assert found.windmill.server.database_url == "postgres://db/windmill"
    uses: Any = found.flexcore.runtimes
    assert uses.ray.health_check_interval == 300


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("port: 8000", "prot: 8000", "windmill.yaml:3: unknown key server.prot (did you mean port?)"),
        ("port: 8000", "port: many", "windmill.yaml:3: server.port must be a whole number"),
        ("port: 8000", "port: 80000", "windmill.yaml:3: server.port must be less than or equal to 65535"),
        ("count: 3", "count: 0", "windmill.yaml:6: workers.count must be greater than or equal to 1"),
        ("tags: [flext, data-processing, ml]", "tags: flext", "windmill.yaml:7: workers.tags must be a list"),
        (
            "tags: [flext, data-processing, ml]",
            "tags: [ml, ml, flext, data-processing]",
            "windmill.yaml:7: workers.tags has ml twice",
        ),
        (
            "    token: ${RAY_TOKEN:-}\n",
            "    tag: mll\n",
            "windmill.yaml:15: runtimes.ray.tag is mll, which no worker listens to "
            "(did you mean ml?); add it to workers.tags",
        ),
        (
            "namespace: models",
            "name_space: models",
            "windmill.yaml:18: unknown key runtimes.kubernetes.name_space (did you mean namespace?)",
        ),
        (
            "secret_key: ${S3_SECRET}",
            "secret_key: s3-literal",
            "windmill.yaml:22: storage.secret_key is a secret: write ${NAME}, and set NAME in the environment",
        ),
        (
            "${PG_PASSWORD}",
            "literal",
            "windmill.yaml:12: runtimes.meltano.env.TAP_POSTGRES_PASSWORD is a secret: write ${NAME}, "
            "and set NAME in the environment",
        ),
        (
            "${S3_KEY}",
            "${S3_KEYS}",
            "windmill.yaml:21: storage.access_key: the environment variable S3_KEYS is not set",
        ),
        (
            "reconcile_interval: 15s",
            "reconcile_interval: 7s",
            "windmill.yaml:24: observability.reconcile_interval must divide a minute, an hour or a day "
            "evenly, such as 15s, 1m, 5m or 1h",
        ),
        (
            "reconcile_interval: 15s",
            "otlp_headers: Authorization=Bearer%20literal",
            "windmill.yaml:24: observability.otlp_headers is a secret: write ${NAME}, and set NAME in the environment",
        ),
        (
            "reconcile_interval: 15s",
            "otlp_endpoint: https://key@collector:4318",
            "windmill.yaml:24: observability.otlp_endpoint must be an address such as http://collector:4318, "
            "without a user or a key in it",
        ),
        (
            "uri: s3://lake/flexcore",
            "uri: lake/flexcore",
            "windmill.yaml:20: storage.uri must be the address of a folder, file:///path or s3://bucket/prefix",
        ),
        ("storage:\n", "storag:\n", "windmill.yaml:19: unknown key storag (did you mean storage?)"),
        ("  host: 0.0.0.0\n", "  host: 0.0.0.0\n  host: b\n", "windmill.yaml:3: host is there twice"),
        ("server:\n", "server: [\n", "windmill.yaml:3: not valid YAML: expected ',' or ']', but got ':'"),
        ("count: 3", "count: !!set {}", "windmill.yaml:6: workers.count must be a whole number"),
        (
            "    path: /projects/sales\n",
            "",
            "windmill.yaml:9: runtimes.meltano give exactly one of path, git_url and meltano_yml (given: none)",
        ),
    ],
)
def test_a_problem_of_windmill_yaml_is_told_at_its_line(
    configure: Callable[..., Path], before: str, after: str, problem: str
) -> None:
    assert before in WINDMILL
    told = said(configure(WINDMILL.replace(before, after, 1)))
    assert problem in told
    assert not any("literal" in line for line in told)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            FLEXCORE.replace("engine: embedded", "engine: windmill\nserver_url: https://w.example.com"),
            [
                "flexcore.yaml:1: token is missing: engine windmill needs it; add `token: ${FLEXCORE_TOKEN}`",
                "flexcore.yaml:1: workspace is missing: engine windmill needs it; add `workspace: prod`",
            ],
        ),
        (FLEXCORE.replace("embedded", "windmil"), ["flexcore.yaml:1: engine must be 'windmill' or 'embedded'"]),
        (FLEXCORE.replace("  ray: {e", "  rey: {e"), ["flexcore.yaml:5: unknown key runtimes.rey (did you mean ray?)"]),
        (
            FLEXCORE.replace("pipeline__flow", "pipelin__flow"),
            [
                "flexcore.yaml:7: templates.pipeline.file: there is no flow f/flexcore/hybrid_pipelin__flow "
                "(did you mean f/flexcore/hybrid_pipeline__flow?)"
            ],
        ),
        (
            FLEXCORE.replace("ray: {enabled: true", "ray: {enabled: false"),
            ["flexcore.yaml:7: templates.pipeline is enabled, and its runtime ray is not"],
        ),
        (
            FLEXCORE.replace("runtime: ray", "runtime: spark"),
            ["flexcore.yaml:7: templates.pipeline.runtime must be 'meltano', 'ray' or 'kubernetes'"],
        ),
        ("- a\n", ["flexcore.yaml:1: must be a mapping of names to values"]),
    ],
)
def test_a_problem_of_flexcore_yaml_is_told_at_its_line(
    configure: Callable[..., Path], text: str, problems: list[str]
) -> None:
    assert said(configure(flexcore=text)) == problems


def test_a_token_of_the_environment_that_is_not_set_is_told_once(configure: Callable[..., Path]) -> None:
    text = "engine: windmill\nserver_url: https://w.example.com\nworkspace: prod\ntoken: ${NO_SUCH_TOKEN}\n"
    assert said(configure(flexcore=text)) == [
        "flexcore.yaml:4: token: the environment variable NO_SUCH_TOKEN is not set"
    ]


def test_all_of_a_file_may_stand_below_its_own_name(configure: Callable[..., Path]) -> None:
    indented = "windmill:\n" + "".join(f"  {line}\n" for line in WINDMILL.splitlines())
    assert not said(configure(indented))
    assert said(configure(indented.replace("port:", "prot:", 1))) == [
        "windmill.yaml:4: unknown key server.prot (did you mean port?)"
    ]


def test_other_commands_refuse_to_begin_with_a_wrong_file(
    configure: Callable[..., Path], environment: dict[str, str]
) -> None:
    from f.flexcore.lib.core.errors import InvalidInput

    with pytest.raises(InvalidInput, match=r"windmill.yaml:3: unknown key server.prot .* config check"):
        read_configuration(configure(WINDMILL.replace("port: 8000", "prot: 8000")))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: &a [x]\n"
            + "".join(f"{b}: &{b} [{NINE % ((a,) * 9)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True)),
            "windmill.yaml:1: has more than 10,000 values, aliases counted each time",
        ),
        ("[" * 20_000, "windmill.yaml:1: is nested too deeply"),
    ],
)
def test_a_file_that_is_a_trap_is_told_at_once(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "windmill.yaml").write_text(text)
    assert said(tmp_path) == [problem]


@pytest.mark.parametrize(
    "text", ["a: &x [*x]", "? [1]\n: 2", "\0", "a: !!python/name:os.system ''", "1: 2", "a: 2026-01-01"]
)
def test_any_yaml_is_read_without_an_error_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "windmill.yaml").write_text(text)
    assert check(tmp_path, {}).problems
    read(tmp_path / "windmill.yaml", {})


@pytest.mark.parametrize(
    ("given", "seconds"), [(15, 15), ("30s", 30), ("5m", 300), ("1h", 3600), ("24h", 86400), (60, 60)]
)
def test_an_interval_that_a_schedule_can_say_is_seconds(given: object, seconds: int) -> None:
    assert interval(given) == seconds


@pytest.mark.parametrize("given", [0, -1, 7, "90s", "7m", "5h", "soon", True, 1.5, None])
def test_an_interval_that_no_schedule_can_say_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="must"):
        interval(given)
