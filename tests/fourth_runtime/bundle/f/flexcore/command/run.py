# requirements: flexcore_base
"""Runs one command on the worker and returns its exit code."""

from typing import Any

from f.flexcore.lib.command import run_command

c_flexcore_settings = dict


def main(command: list[str], timeout_s: int = 3600, settings: c_flexcore_settings | None = None) -> dict[str, Any]:
    return run_command.RUN.run(locals())
