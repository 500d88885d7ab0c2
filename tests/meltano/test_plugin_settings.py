"""Values of settings, what is missing, and overrides."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.core.errors import InvalidInput, MissingSetting, NotFound
from f.flexcore.meltano.plugin_settings import (
    check_overrides,
    check_settings,
    missing_settings,
    override_environment,
    parse_overrides,
    selection_environment,
    value_of,
)
from f.flexcore.meltano.project_file import Plugin


def plugin(name: str = "tap-x", **parts: Any) -> Plugin:
    return Plugin("extractors", name, name.replace("-", "_"), name, "", "", name, **parts)


SETTINGS = (
    {"name": "host", "aliases": ["server"]},
    {"name": "port", "kind": "integer", "value": 5432},
    {"name": "password", "kind": "password"},
    {"name": "token_url", "kind": "string"},
    {"name": "api_key"},
    {"name": "tables", "kind": "array"},
)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("tap-x.host=db.local", "db.local"),
        ("tap-x.port=99", 99),
        ('tap-x.tables=["a", "b"]', ["a", "b"]),
        ("tap-x.host=a=b", "a=b"),
        ("tap-x.host=", ""),
    ],
)
def test_an_override_is_json_when_it_parses_else_text(line: str, value: Any) -> None:
    assert parse_overrides([line])[0].value == value


@pytest.mark.parametrize("line", ["host=1", "tap-x.host", "", "hunter2"])
def test_a_line_of_another_form_is_named_by_its_place_and_not_repeated(line: str) -> None:
    with pytest.raises(InvalidInput, match=r"config\[1\] is not PLUGIN.SETTING=VALUE") as caught:
        parse_overrides(["tap-x.host=1", line])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("tap-y.host=1", NotFound, r"tap-y does not run. Running: tap-x"),
        ("tap-x.hots=1", NotFound, r"no setting 'hots'. Did you mean host\? Declared: host, port"),
        ("tap-x.password=hunter2", InvalidInput, r"is a secret.*Put TAP_X_PASSWORD into the project resource's env"),
        ("tap-x.api_key=hunter2", InvalidInput, r"is a secret"),
    ],
)
def test_an_override_must_name_a_declared_setting_that_is_no_secret(
    line: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        check_overrides(parse_overrides([line]), [plugin(settings=SETTINGS)])
    assert "hunter2" not in str(caught.value)


def test_overrides_reach_meltano_as_the_settings_variables() -> None:
    lines = ["tap-x.tables=[1]", "tap-x.token_url=http://a", "tap-x._metadata={}"]
    overrides = parse_overrides(lines)
    check_overrides(overrides, [plugin(settings=SETTINGS)])
    assert override_environment(overrides, [plugin(settings=SETTINGS)]) == {
        "TAP_X_TABLES": "[1]", "TAP_X_TOKEN_URL": "http://a", "TAP_X__METADATA": "{}",
    }  # fmt: skip


def test_a_value_comes_from_variable_then_environment_then_config_then_default() -> None:
    full = plugin(settings=SETTINGS, config={"port": 1, "host": "c"}, environment_config={"port": 2})
    assert value_of(full, "port", {"TAP_X_PORT": "3"}) == "3"
    assert value_of(full, "port", {}) == 2
    assert value_of(full, "host", {"TAP_X_SERVER": "alias"}) == "alias"
    assert value_of(plugin(settings=SETTINGS), "port", {}) == 5432


def test_of_alternative_groups_the_most_complete_one_is_asked_for() -> None:
    groups = (("host", "password"), ("api_key",))
    assert missing_settings(plugin(settings=SETTINGS, groups=groups), {}) == ["api_key"]
    assert missing_settings(plugin(settings=SETTINGS, groups=groups, config={"api_key": "k"}), {}) == []
    with_host = plugin(settings=SETTINGS, groups=(("host", "password"), ("api_key", "tables")), config={"host": "h"})
    assert missing_settings(with_host, {}) == ["password"]


def test_a_missing_setting_says_which_variable_sets_it() -> None:
    with pytest.raises(MissingSetting, match=r"tap-x: setting api_key is required.*Set TAP_X_API_KEY") as caught:
        check_settings(plugin(settings=SETTINGS, groups=(("api_key",),)), {})
    assert caught.value.subject == "tap-x.api_key"


@pytest.mark.parametrize("value", ["$DATABASE", "${DATABASE}/x", {"a": ["$DATABASE"]}])
def test_a_value_from_a_variable_that_nobody_sets_is_missing(value: Any) -> None:
    with pytest.raises(MissingSetting, match=r"setting host is set from \$DATABASE, which has no value"):
        check_settings(plugin(settings=SETTINGS, config={"host": value}), {})
    check_settings(plugin(settings=SETTINGS, config={"host": value}), {"DATABASE": "x"})


@pytest.mark.parametrize("value", [r"\$DATABASE", "pa$$word", "5$", "$MELTANO_PROJECT_ROOT/data", "$TAP_X_HOST"])
def test_escaped_dollars_and_meltanos_own_variables_are_no_gap(value: str) -> None:
    check_settings(plugin(settings=SETTINGS, config={"tables": value}), {})


def test_a_selection_pattern_is_for_all_taps_or_for_the_one_it_names() -> None:
    taps = [plugin("tap-x"), plugin("tap-y")]
    assert selection_environment(["a.*", "tap-y.b.*", "!tap-x.a.secret"], taps) == {
        "TAP_X__SELECT": '["a.*", "!a.secret"]', "TAP_Y__SELECT": '["a.*", "b.*"]',
    }  # fmt: skip
    assert selection_environment([], taps) == {}
