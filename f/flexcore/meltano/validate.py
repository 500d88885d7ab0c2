# requirements: flexcore_base
"""Checks a Meltano request before anything runs: project, plugins, settings, state backend. No plugin is started."""

from typing import Any

from f.flexcore.lib.meltano import (
    extraction,
)
from f.flexcore.lib.windmill import stops

c_meltano_project = dict
c_flexcore_settings = dict


def main(
    project: c_meltano_project,
    taps: list[str],
    target: str = "target-jsonl",
    environment: str = "",
    config: list[str] | None = None,
    settings: c_flexcore_settings | None = None,
    tap_settings: dict | None = None,
    target_settings: dict | None = None,
    mappings: list[str] | None = None,
) -> dict[str, Any]:
    stops.refuse_stopped()
    return extraction.RUN.plan(extraction.RUN.invoke(locals())).plain()
