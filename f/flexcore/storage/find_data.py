# requirements: flexcore_base
"""The manifest of data that the store has, by name, or of files that are named one by one."""

from typing import Any, Literal

from f.flexcore.lib.core import errors, resources
from f.flexcore.lib.storage import catalog, file_data, object_store
from f.flexcore.lib.windmill import stops

c_flexcore_settings = dict


def main(
    source: Literal["extraction", "files"] = "extraction",
    data: str = "",
    files: list[str] | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
    found = file_data.manifest_of_files(store, files or []) if source == "files" else catalog.find_data(store, data)
    print(f"{len(found.streams)} streams at {found.uri}")
    return found.plain()
