# requirements: flexcore_base
# py: ==3.11.*
"""The manifest of a model that the store has, by name: NAME for the newest, NAME:VERSION for that one."""

from typing import Any

import f.flexcore.storage.catalog as catalog
from f.flexcore.core.errors import validated
from f.flexcore.core.resources import Settings
from f.flexcore.storage.store import Store

c_flexcore_settings = dict


def main(model: str, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    found = catalog.find_model(Store(validated(Settings, settings or {}, "settings")), model)
    print(f"{found.name} {found.version} at {found.uri}")
    return found.plain()
