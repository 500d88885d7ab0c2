"""Values of settings, what is missing, and overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput, MissingSetting, NotFound
from f.flexcore.lib.meltano.request_settings import (
    check_overrides,
    override_environment,
    parse_overrides,
    request_environment,
    selection_environment,
)
from f.flexcore.lib.meltano.resolved_project import (
    Plugin,
    Project,
    Setting,
    Unset,
    Value,
    check_plugin,
    check_project,
    check_required,
    list_missing_settings,
    plugin_secrets,
    project_secrets,
    url_secrets,
)


def plugin(name: str = "tap-x", **parts: Any) -> Plugin:
    return Plugin("extractors", name, name.replace("-", "_"), name, name, **parts)


def values(**given: Any) -> dict[str, Value]:
    return {name: Value(value, "meltano_yml") for name, value in given.items()}


SETTINGS = (
    Setting("host", aliases=("server",), variables=("TAP_X_HOST", "TAP_X_SERVER")),
    Setting("port", "integer", variables=("TAP_X_PORT",)),
    Setting("password", "password", sensitive=True, variables=("TAP_X_PASSWORD",)),
    Setting("token_url", "string", variables=("TAP_X_TOKEN_URL",)),
    Setting("api_key", variables=("TAP_X_API_KEY",)),
    Setting("tables", "array", variables=("TAP_X_TABLES",)),
    Setting("_metadata", "object", aliases=("metadata",), variables=("TAP_X__METADATA", "TAP_X_METADATA")),
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
        ("tap-y.host=1", NotFound, r"tap-y is not part of this run. The run has: tap-x"),
        ("tap-x.hots=1", NotFound, r"no setting 'hots'. Did you mean host\? Declared: host, port"),
        ("tap-x.password=hunter2", InvalidInput, r"is a secret.*Put TAP_X_PASSWORD into the project resource's env"),
        ("tap-x.api_key=hunter2", InvalidInput, r"is a secret"),
    ],
)
def test_an_override_must_name_a_declared_setting_that_is_not_secret(
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
        "TAP_X_TABLES": "[1]",
        "TAP_X_TOKEN_URL": "http://a",
        "TAP_X__METADATA": "{}",
    }


def test_what_the_request_sets_takes_the_place_of_every_variable_of_that_setting() -> None:
    """Meltano refuses a setting that two variables set."""
    given = {"TAP_X_SERVER": "old", "TAP_X_HOST": "older", "TAP_X_PORT": "1", "OTHER": "o"}
    found = request_environment(given, {"TAP_X_HOST": "new"}, [plugin(settings=SETTINGS)])
    assert found == {"TAP_X_HOST": "new", "TAP_X_PORT": "1", "OTHER": "o"}


def test_of_alternative_groups_the_most_complete_one_is_required() -> None:
    groups = (("host", "password"), ("api_key",))
    assert list_missing_settings(plugin(settings=SETTINGS, groups=groups)) == ["api_key"]
    assert list_missing_settings(plugin(settings=SETTINGS, groups=groups, values=values(api_key="k"))) == []
    longer = (("host", "password"), ("api_key", "tables"))
    assert list_missing_settings(plugin(settings=SETTINGS, groups=longer, values=values(host="h"))) == ["password"]


def test_a_missing_setting_says_which_variable_sets_it() -> None:
    with pytest.raises(MissingSetting, match=r"tap-x: setting api_key is required.*Set TAP_X_API_KEY") as caught:
        check_required(plugin(settings=SETTINGS, groups=(("api_key",),)))
    assert caught.value.subject == "tap-x.api_key"


@pytest.mark.parametrize(
    ("parts", "subject", "message"),
    [
        (
            {"values": {"host": Value(None, "meltano_yml", (Unset("DATABASE"),))}},
            "tap-x.host",
            r"tap-x: setting host is set from \$DATABASE, which has no value. Set DATABASE in the project resource",
        ),
        (
            {"values": {"tables": Value([""], "meltano_yml", (Unset("SCHEMA", "[0].name"),))}},
            "tap-x.tables",
            r"setting tables is set from \$SCHEMA, which has no value \(in \[0\].name\)",
        ),
        (
            {"values": {"_select": Value([""], "meltano_yml", (Unset("SCHEMA", "[0]"),))}},
            "tap-x._select",
            r"setting _select is set from \$SCHEMA",
        ),
        (
            {"values": {"host": Value("$INNER", "meltano_yml", (Unset("OUTER", inner="INNER"),))}},
            "tap-x.host",
            r"set from \$OUTER, and the env block that sets it from \$INNER is not filled in. Refer to \$INNER itself",
        ),
        (
            {
                "mapping": "hide-emails",
                "mapping_config": Value({}, unset=(Unset("SALT", "stream_map_config.hash_salt"),)),
                "values": {"stream_map_config.hash_salt": Value("", unset=(Unset("SALT"),))},
            },
            "tap-x.hide-emails",
            r"tap-x: mapping hide-emails is set from \$SALT, which has no value \(in stream_map_config.hash_salt\)",
        ),
        ({"requirements_unset": (Unset("VERSION"),)}, "tap-x.pip_url", r"tap-x: pip_url is set from \$VERSION"),
        (
            {"env": Value({}, unset=(Unset("SALT", "PEOPLE_SALT"),))},
            "tap-x.env.PEOPLE_SALT",
            r"env PEOPLE_SALT is set from \$SALT, which has no value in a plugin's env block. Move PEOPLE_SALT to the "
            r"env block of the environment dev",
        ),
    ],
)
def test_a_variable_without_a_value_is_refused_wherever_it_stands(
    parts: dict[str, Any], subject: str, message: str
) -> None:
    with pytest.raises(MissingSetting, match=message) as caught:
        check_plugin(plugin(settings=SETTINGS, **parts), "dev")
    assert caught.value.subject == subject


def test_a_value_that_meltano_does_not_take_is_refused_without_its_text() -> None:
    wrong = plugin(settings=SETTINGS, values={"port": Value(problem="is not a value of the kind integer")})
    with pytest.raises(
        InvalidInput, match=r"tap-x: setting port is not a value of the kind integer. Correct port"
    ) as e:
        check_plugin(wrong, "dev")
    assert e.value.subject == "tap-x.port"


def test_a_state_backend_that_is_not_in_use_may_lack_what_it_needs() -> None:
    unset = Value(None, "meltano_yml", (Unset("AZURE"),))
    used = {"state_backend.uri": Value("s3://b/x", "meltano_yml"), "state_backend.azure.connection_string": unset}
    check_project(Project(Path("/p"), "dev", used))
    with pytest.raises(MissingSetting, match=r"state_backend.s3.aws_secret_access_key is set from \$AZURE"):
        check_project(Project(Path("/p"), "dev", {**used, "state_backend.s3.aws_secret_access_key": unset}))


def test_the_secrets_of_a_plugin_are_what_it_gets_and_what_that_was_made_of() -> None:
    kinds = (*SETTINGS, Setting("pin", "password", sensitive=True), Setting("connections", "array"))
    found = set(
        plugin_secrets(
            plugin(
                settings=kinds,
                values={
                    "host": Value("db.local", parts={"DB_HOST": "db.local"}),
                    "password": Value("Bearer otter-4417", parts={"COPPER": "otter-4417"}),
                    "pin": Value(44171),
                    "token_url": Value("https://reader:linked-pass@host/token"),
                    "tables": Value(["a"], parts={"TABLE_TOKEN": "part-of-tables"}),
                    "connections": Value([{"name": "one", "client_secret": "nested-one"}]),
                    "conn": Value("host=db password='in-text-1' sslpassword=off", parts={"DB_PASS": "pass-1"}),
                },
                mapping_config=Value({"stream_map_config": {"hash_salt": "juniper"}}, parts={"OTHER": "no-secret"}),
                env=Value({"PGPASSWORD": "by-variable", "PGHOST": "db.local"}),
                requirements=("git+https://ghp_0123456789abcdef@host/tap.git", "tap-x==1.2.3"),
            )
        )
    )
    assert found == {
        "Bearer otter-4417",
        "otter-4417",
        "44171",
        "linked-pass",
        "part-of-tables",
        "nested-one",
        "in-text-1",
        "pass-1",
        "juniper",
        "by-variable",
        "ghp_0123456789abcdef",
    }


def test_secrets_of_the_project_are_those_of_its_variables_and_of_its_state() -> None:
    project = Project(
        Path("/p"),
        "dev",
        {
            "database_uri": Value("postgresql://meltano:db%2Fpass@db/m", "dotenv"),
            "state_backend.uri": Value("s3://bucket/state", "meltano_yml"),
            "state_backend.azure.connection_string": Value("AccountKey=abc", "env", sensitive=True),
        },
        variables={
            "REGION": "eu",
            "LEDGER_PASSWORD": "copper",
            "DB_PW": "otter",
            "DATABASE_URL": "postgresql://joe:linked@db/m",
            "ODBC": "Server=db;UID=joe;PWD=by-odbc",
        },
    )
    secrets = {"db%2Fpass", "db/pass", "AccountKey=abc", "copper", "otter", "linked", "by-odbc"}
    assert set(project_secrets(project)) == secrets


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("git+https://user:pass@host/x", {"pass"}),
        ("git+ssh://git@host/x", set()),
        ("tap-x @ https://glpat-0123456789abc@host/x", {"glpat-0123456789abc"}),
        ("--index-url https://u:a%40b@host/simple", {"a%40b", "a@b"}),
    ],
)
def test_what_authenticates_in_a_url_is_a_secret(url: str, secrets: set[str]) -> None:
    assert set(url_secrets(url)) == secrets


def test_a_selection_pattern_is_for_all_taps_or_for_the_one_it_names() -> None:
    taps = [plugin("tap-x"), plugin("tap-y")]
    assert selection_environment(["a.*", "tap-y.b.*", "!tap-x.a.secret"], taps) == {
        "TAP_X__SELECT": '["a.*", "!a.secret"]',
        "TAP_Y__SELECT": '["a.*", "b.*"]',
    }
    assert selection_environment([], taps) == {}
