# requirements: flexcore_base
"""Meltano's command, run by observer.py in Meltano's own Python: the files that it needs there and its arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from f.flexcore.lib.core import module_source
from f.flexcore.lib.meltano import installation, observer, plugin_settings, selection, singer

MODULES = (observer, selection, singer)
START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from f.flexcore.lib.meltano.observer import run_observed; "
    "run_observed(sys.argv[2:])"
)


def observed_command(folder: Path, asked: Mapping[str, Sequence[str]], arguments: Sequence[str]) -> list[str]:
    """The command line that runs `meltano ARGUMENTS`; folder gets the modules that it imports. asked: see Observer."""
    for module in MODULES:
        path = folder.joinpath(*module.__name__.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(module_source.module_source(module), encoding="utf-8")
    # The tool's script is a link into its environment. -P: the project's own files are no modules of Meltano.
    python = installation.meltano_command().resolve().with_name("python")
    return [str(python), "-P", "-c", START, str(folder), json.dumps(asked), *arguments]


def asked_selection(env: Mapping[str, str], taps: Sequence[str]) -> dict[str, list[str]]:
    """The taps whose selection comes with the request, each with its patterns that all taps of several share."""
    chosen = {
        tap: patterns
        for tap in taps
        if (patterns := _patterns(env.get(plugin_settings.variable(tap, "_select"), ""))) is not None
    }
    shared = set.intersection(*(set(patterns) for patterns in chosen.values())) if len(chosen) > 1 else set()
    return {tap: [item for item in patterns if item in shared] for tap, patterns in chosen.items()}


def _patterns(text: str) -> list[str] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return [text] if text else None
    return [str(item) for item in value] if isinstance(value, list) else None
