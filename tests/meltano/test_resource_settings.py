"""Settings of a plugin from a resource of any type."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.errors import InvalidInput
from f.flexcore.lib.meltano.extraction import RUN
from f.flexcore.lib.meltano.request_settings import resource_environment
from f.flexcore.lib.meltano.resolved_project import Plugin, Setting


def plugin(name: str, *settings: str) -> Plugin:
    prefix = name.replace("-", "_")
    declared = tuple(Setting(item, variables=(f"{prefix}_{item}".upper(),)) for item in settings)
    return Plugin("loaders", name, prefix, name, name, settings=declared)


POSTGRES = plugin("target-postgres", "host", "port", "user", "password", "database", "ssl_mode")


def test_the_fields_of_a_database_resource_become_the_settings_that_mean_the_same() -> None:
    resource = {"host": "db", "port": 5432, "user": "u", "password": "p", "dbname": "sales", "sslmode": "require"}
    assert resource_environment(resource, [POSTGRES], "target_settings") == {
        "TARGET_POSTGRES_HOST": "db",
        "TARGET_POSTGRES_PORT": "5432",
        "TARGET_POSTGRES_USER": "u",
        "TARGET_POSTGRES_PASSWORD": "p",
        "TARGET_POSTGRES_DATABASE": "sales",
        "TARGET_POSTGRES_SSL_MODE": "require",
    }


def test_a_field_without_a_setting_is_logged_by_its_name_alone(capsys: pytest.CaptureFixture[str]) -> None:
    found = resource_environment({"host": "db", "region": "secret-region", "empty": ""}, [POSTGRES], "target_settings")
    assert found == {"TARGET_POSTGRES_HOST": "db"}
    told = capsys.readouterr().out
    assert "no setting named region; left out" in told
    assert "secret-region" not in told


@pytest.mark.parametrize("resource", [None, {}])
def test_no_resource_sets_nothing(resource: Any) -> None:
    assert resource_environment(resource, [POSTGRES], "target_settings") == {}


def test_a_resource_of_another_kind_is_refused_with_what_the_plugin_has() -> None:
    with pytest.raises(InvalidInput, match=r"target-postgres has no setting named webhook.*It has: host, port"):
        resource_environment({"webhook": "https://secret"}, [POSTGRES], "target_settings")


def test_settings_that_are_no_resource_are_refused_by_their_field() -> None:
    arguments = {"project": {"path": "/p"}, "taps": ["tap-x"], "target_settings": "$res:gone"}
    with pytest.raises(InvalidInput, match="target_settings: Input should be a valid dictionary"):
        RUN.invoke(arguments, {})
