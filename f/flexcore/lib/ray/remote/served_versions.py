# requirements: flexcore_base
"""Compares the versions here with those that a model was trained with, before anything is started. Shipped as source;
which versions are compatible, the step says (core/model_versions)."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]
NUMBER = re.compile(r"(\d+)(?:\.(\d+))?")


def check_versions(model: Json, requirements: list[str]) -> list[str]:
    """Notes on versions that differ but will do. Raises InvalidInput that names both versions for those that will not;
    the step then submits the job again with `requirements`, the model's own list of packages.

    model: {name, version, ranges: as core/model_versions has them}."""
    refused, notes, pins = [], [], []
    for item in model["ranges"]:
        here = find_installed(item["names"])
        if here is not None and is_compatible(item, here):
            continue
        served = f"{item['package']} {here}" if here else f"no {item['package']}"
        text = f"the model was trained with {item['package']} {item['trained']}, and here is {served}"
        if here is None or item["refuse"]:
            refused.append(text)
            pins.append(f"{item['package']}=={item['trained']}")
        else:
            notes.append(f"{text}: its answers may differ")
    if refused:
        raise shared_storage.Problem(
            "InvalidInput",
            f"{model['name']} {model['version']} cannot be served: {'; '.join(refused)}",
            "model.versions",
            f"Serve it with {' '.join(pins)}, or train it again with what is here.",
            missing_packages=requirements or pins,
        )
    for note in notes:
        print(f"Note: {note}")
    return notes


def find_installed(names: list[str]) -> str | None:
    """The version of the first of these distributions that this Python has."""
    for name in names:
        if name == "python":
            return platform.python_version()
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def is_compatible(item: Json, here: str) -> bool:
    match = NUMBER.match(here)
    if item["low"] is None or match is None:
        return here == str(item["trained"])
    number = [int(match[1]), int(match[2] or 0)]
    return bool(item["low"] <= number and (item["high"] is None or number < item["high"]))
