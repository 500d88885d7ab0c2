# requirements: flexcore_base
"""The manifest of a model that the store has, by name: NAME for the newest, NAME:VERSION for that one."""

from typing import Any

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.storage import catalog, object_store
from f.flexcore.lib.windmill import stops

c_flexcore_settings = dict


def main(model: str, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    stops.refuse_stopped()
    found = catalog.find_model(
        object_store.Store(errors.validate(resources.Settings, settings or {}, "settings")), model
    )
    print(f"{found.name} {found.version} at {found.uri}")
    return found.plain()
