# requirements: flexcore_base
"""Our own programs as files of a job: their sources under the paths by which they import each other on Ray."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from f.flexcore.lib.core import module_source, resources
from f.flexcore.lib.ray.remote import job_entry

Json = dict[str, Any]
# What a cluster gets when it lacks a module. What Ray itself needs comes in the version that its Ray asks for ({ray});
# the rest in the version that the laptop side has, so that a model can be read there too.
PACKAGES = {
    "pyarrow": "ray[data,train]=={ray}",
    "fsspec": "ray[data,train]=={ray}",
    "tensorboardX": "ray[data,train]=={ray}",
    "pandas": "pandas==3.1.1",
    "sklearn": "scikit-learn==1.9.1",
    "joblib": "joblib==1.6.0",
    "xgboost": "xgboost-cpu==3.2.0",
    "lightgbm": "lightgbm==4.7.0",
}


def program_files(modules: list[ModuleType], program: str) -> dict[str, str]:
    """The modules' sources by path, and the few lines that start them."""
    files = {module.__name__.replace(".", "/") + ".py": module_source.module_source(module) for module in modules}
    return files | {job_entry.PROGRAM: program}


def requires(*modules: str) -> dict[str, str]:
    """Module → package to install when the cluster lacks it."""
    return {module: PACKAGES[module] for module in modules}


def storage_of(settings: resources.Settings, root: str, probe: str) -> Json:
    """How a program on Ray reaches the store; `probe` is a file that it must find there."""
    return {
        "uri": root,
        "endpoint_url": settings.storage_endpoint_url,
        "access_key": settings.storage_access_key,
        "secret_key": settings.storage_secret_key,
        "region": settings.storage_region,
        "probe": probe,
    }
