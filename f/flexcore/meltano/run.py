# requirements: flexcore_base
"""Runs Meltano taps into a target and hands on what was extracted: rows, state, resources, a manifest of the files."""

from typing import Any

from f.flexcore.lib.meltano import (
    extraction,
)

c_meltano_project = dict
c_flexcore_settings = dict


def main(
    project: c_meltano_project,
    taps: list[str],
    target: str = "target-jsonl",
    environment: str = "",
    full_refresh: bool = False,
    select: list[str] | None = None,
    config: list[str] | None = None,
    timeout_s: int = 3600,
    settings: c_flexcore_settings | None = None,
    allow_empty: bool = False,
    tap_settings: dict | None = None,
    target_settings: dict | None = None,
    mappings: list[str] | None = None,
) -> dict[str, Any]:
    return extraction.RUN.run(locals())
