# requirements: flexcore_base
# py: ==3.11.*
"""The manifest of data that the store has, by name, or of files that are named one by one."""

from typing import Any, Literal

import f.flexcore.storage.catalog as catalog
from f.flexcore.core.errors import validated
from f.flexcore.core.resources import Settings
from f.flexcore.storage.file_data import manifest_of_files
from f.flexcore.storage.store import Store

c_flexcore_settings = dict


def main(
    source: Literal["extraction", "files"] = "extraction",
    data: str = "",
    files: list[str] | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    store = Store(validated(Settings, settings or {}, "settings"))
    found = manifest_of_files(store, files or []) if source == "files" else catalog.find_data(store, data)
    print(f"{len(found.streams)} streams at {found.uri}")
    return found.plain()
