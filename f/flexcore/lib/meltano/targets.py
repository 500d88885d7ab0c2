# requirements: flexcore_base
"""Targets that write files: which setting names their folder, and which format they write.

Any other target loads into a place of its own (a database); its data is not handed on as a manifest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from f.flexcore.lib.core import errors
from f.flexcore.lib.meltano import plugin_settings, resolved_project


@dataclass(frozen=True, slots=True)
class FileTarget:
    """folder: its possible setting names, the first declared is used; fixed: settings that make file names plain."""

    format: str
    folder: tuple[str, ...]
    fixed: dict[str, str] = field(default_factory=dict)


# By executable, because a project may name its plugin as it likes. Settings: the variants that Meltano Hub lists.
FILE_TARGETS = {
    "target-jsonl": FileTarget("jsonl", ("destination_path", "output_path"), {"do_timestamp_file": "false"}),
    "target-csv": FileTarget("csv", ("destination_path", "output_path")),
    "target-parquet": FileTarget("parquet", ("destination_path", "filepath", "output_path")),
    "target-singer-jsonl": FileTarget("jsonl", ("local.folder",)),
}


def file_target(target: resolved_project.Plugin) -> FileTarget | None:
    return FILE_TARGETS.get(target.executable) or FILE_TARGETS.get(target.name)


def folder_environment(target: resolved_project.Plugin, kind: FileTarget, folder: str) -> dict[str, str]:
    """Environment variables that point a file target at `folder`.

    InvalidInput when the plugin declares no such setting: Meltano reads variables of declared settings only.
    """
    declared = plugin_settings.setting_names(target)
    name = next((item for item in kind.folder if item in declared), None)
    if name is None:
        raise errors.InvalidInput(
            f"{target.name} declares no setting for its output folder",
            subject=target.name,
            remedy=f"Declare {kind.folder[0]} below its settings in meltano.yml.",
        )
    fixed = {
        plugin_settings.variables_of(target, key)[0]: value for key, value in kind.fixed.items() if key in declared
    }
    return {plugin_settings.variables_of(target, name)[0]: folder, **fixed}
