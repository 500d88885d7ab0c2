# requirements: flexcore_kubernetes
"""Serves a model from the clusters that suit it, one after the other, and stops at the first on which it fails."""

from typing import Any

from f.flexcore.lib.kubernetes import placed_model
from f.flexcore.lib.windmill import client

c_flexcore_settings = dict


def main(
    deployment: dict,
    placement: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    return placed_model.place_model(locals(), client.Client().resource)
