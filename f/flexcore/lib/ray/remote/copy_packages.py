# requirements: flexcore_base
"""Whether the cluster has what a copy needs. Shipped as source."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage


def check(requires: dict[str, Any]) -> None:
    """Raises when a module is not there; the step then submits the job again with the packages that provide it."""
    missing = [package.format(ray=version("ray")) for module, package in requires.items() if find_spec(module) is None]
    if missing:
        packages = list(dict.fromkeys(missing))
        raise shared_storage.Problem(
            "InvalidInput", f"The cluster lacks {', '.join(packages)}", "packages", missing_packages=packages
        )


def connect() -> None:
    """Joins the cluster, quietly."""
    import logging

    import ray
    import ray.data

    ray.init(logging_level=logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
