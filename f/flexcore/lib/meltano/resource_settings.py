# requirements: flexcore_base
"""A plugin's settings from a Windmill resource of any type: its fields that are settings of the plugin, by name.

A database's resource calls some fields otherwise than plugins do, and plugins differ among themselves; names that mean
the same are known here. What the plugin has no setting for is left out and told, by name alone. Pure but for that line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from f.flexcore.lib.core import errors
from f.flexcore.lib.meltano import plugin_settings, resolved_project

# Windmill's own types postgresql, mysql, oracledb, snowflake, … against what Meltano Hub lists.
SAME = (
    ("user", "username", "db_user"),
    ("password", "pass", "db_password"),
    ("dbname", "database", "db_name", "db", "database_name", "path_to_db"),
    ("host", "hostname", "server"),
    ("sslmode", "ssl_mode"),
    ("schema", "default_target_schema", "target_schema"),
    ("url", "sqlalchemy_url", "connection_string"),
)


def resource_environment(resource: Any, plugins: Sequence[resolved_project.Plugin], what: str) -> dict[str, str]:
    """The environment variables through which Meltano reads the fields. Raises InvalidInput when none is a setting."""
    if resource in (None, "", {}):
        return {}
    if not isinstance(resource, Mapping):
        raise errors.InvalidInput(f"{what} is no resource with fields", subject=what, remedy="Choose a resource.")
    given = {str(name): value for name, value in resource.items() if value not in (None, "")}
    found: dict[str, str] = {}
    used: set[str] = set()
    for plugin in plugins:
        for name, value in given.items():
            if setting := setting_for(name, plugin_settings.setting_names(plugin)):
                found[plugin_settings.variables_of(plugin, setting)[0]] = (
                    value if isinstance(value, str) else json.dumps(value)
                )
                used.add(name)
    names = ", ".join(plugin.name for plugin in plugins)
    if given and not used:
        known = dict.fromkeys(name for plugin in plugins for name in plugin_settings.setting_names(plugin))
        raise errors.InvalidInput(
            f"{what}: {names} has no setting named {', '.join(given)}",
            subject=what,
            remedy=f"It has: {', '.join(known)}.",
        )
    if unused := [name for name in given if name not in used]:
        print(f"{what}: {names} has no setting named {', '.join(unused)}; left out", flush=True)
    return found


def setting_for(name: str, declared: Sequence[str]) -> str | None:
    """The setting that a field of a resource means, if there is one."""
    if name in declared:
        return name
    same = next((group for group in SAME if name in group), ())
    return next((other for other in same if other in declared), None)
