# requirements: flexcore_benchmark
"""One run of the race without a runtime: ADBC and Parquet in this process, which the runtimes are compared with."""

import os
from typing import Any

from f.flexcore.lib.benchmark import legs, reference
from f.flexcore.lib.core import contracts, errors, identity, resources
from f.flexcore.lib.storage import object_store

postgresql = dict
c_flexcore_settings = dict


def main(
    leg: dict, database: postgresql, source: dict | None = None, settings: c_flexcore_settings | None = None
) -> dict[str, Any]:
    checked = errors.validate(legs.Leg, leg, "leg")
    store = object_store.Store(errors.validate(resources.Settings, settings or {}, "settings"))
    given = errors.validate(contracts.DataManifest, source, "source") if source else None
    return reference.run(checked, database, store, given, identity.execution_key(os.environ)).plain()
