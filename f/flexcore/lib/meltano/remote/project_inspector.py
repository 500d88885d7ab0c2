# requirements: flexcore_base
"""What Meltano itself says of a project: the program that runs inside Meltano's environment, of which inspection.py is
the client. It is started from its source and asks Meltano's own services, so that no rule of theirs is written twice.

Requests come as JSON lines on stdin, each with the variables that Meltano shall see; each gets one JSON line:
  definitions   what the named plugins are: settings, folder, executable, capabilities; which environment is chosen
  values        what the plugins of each block set get: settings, requirements, variables; the project's own settings
  dotenv        the variables of a .env file
An answer with `error` is a refusal: {type, message, subject, remedy}; it never repeats a value, which may be secret.
Source: meltano.core project_plugins_service, settings_service, plugin_install_service, plugin_invoker, 4.4.1.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from f.flexcore.lib.meltano.remote import plugin_values

PROJECT_SETTINGS = ("project_id", "database_uri", "python", "state_backend.")


class Refusal(Exception):
    """What a person has to change; `type` is the name of one of flexcore's errors."""

    def __init__(self, message: str, subject: str, remedy: str, type: str = "InvalidInput") -> None:
        super().__init__(message)
        self.plain = {"type": type, "message": message, "subject": subject, "remedy": remedy}


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silence()
    prevent_writes()
    plugin_values.EXPANSIONS.listen()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line)), default=plugin_values.to_json) + "\n")
        answers.flush()


def silence() -> None:
    """Meltano logs to stdout, and a line for each variable costs more than the variable."""
    import structlog

    os.dup2(2, 1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    os.environ.clear()
    os.environ.update(request["env"])
    try:
        return QUESTIONS[request["question"]](request)
    except Refusal as refusal:
        return {"error": refusal.plain}


# ------------------------------------------------------------------------------------------------ questions


def dotenv(request: dict[str, Any]) -> dict[str, Any]:
    from dotenv import dotenv_values

    return {"variables": {key: value for key, value in dotenv_values(request["path"]).items() if value is not None}}


def definitions(request: dict[str, Any]) -> dict[str, Any]:
    project = open_project(request)
    plugins = [describe_plugin(project, find_plugin(project, kind, name)) for kind, name in request["plugins"]]
    return {"environment": project.environment.name, "plugins": plugins}


def values(request: dict[str, Any]) -> dict[str, Any]:
    project = open_project(request)
    block_sets = [resolve_block_set(project, names) for names in request["block_sets"]]
    return {
        "block_sets": block_sets,
        "settings": project_settings(project),
        # Meltano fills it in as it makes the first plugin's settings.
        "state_id_suffix": project.environment.state_id_suffix or "",
        "variables": {
            **project.dotenv_env,
            **{key: str(value) for key, value in plugin_values.project_blocks(project).items()},
        },
    }


QUESTIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "definitions": definitions,
    "values": values,
    "dotenv": dotenv,
}


# ------------------------------------------------------------------------------------------------ project


def open_project(request: Mapping[str, Any]) -> Any:
    """The project in its environment. Raises Refusal with the place in the file that Meltano does not accept."""
    from meltano.core.error import MeltanoError
    from meltano.core.project import Project
    from meltano.core.utils import IncompatibleMeltanoVersionError, check_meltano_compatibility

    project = Project(request["root"], readonly=True)
    try:
        check_meltano_compatibility(project.meltano.requires_meltano)
        activate_environment(project, request["environment"])
    except Refusal:
        raise
    except IncompatibleMeltanoVersionError as error:
        raise Refusal(
            f"The project requires Meltano {error.required_version}, and flexcore runs {error.current_version}",
            "requires_meltano",
            "Change requires_meltano in meltano.yml if the project works with that version.",
        ) from None
    except MeltanoError as error:
        raise Refusal(f"Meltano refuses the project: {error.reason}", "project", error.instruction or "") from None
    except Exception as error:
        raise explain_unreadable(project, error) from None
    return project


def activate_environment(project: Any, wanted: str) -> None:
    names = [item.name for item in project.meltano.environments]
    chosen = wanted or os.environ.get("MELTANO_ENVIRONMENT") or project.dotenv_env.get("MELTANO_ENVIRONMENT")
    chosen = chosen or project.settings.get("default_environment") or (names[0] if len(names) == 1 else "")
    if chosen in names:
        project.activate_environment(chosen)
        return
    if not names:
        # Meltano keeps a state in an environment only.
        raise Refusal(
            "The project declares no environment, and Meltano runs in one only",
            "environment",
            "Add `environments: [{name: dev}]` and `default_environment: dev` to meltano.yml.",
        )
    if not chosen:
        raise Refusal(
            "The project has several environments and no default one",
            "environment",
            f"Choose one of {', '.join(names)}, or set default_environment in meltano.yml.",
        )
    close = get_close_matches(chosen, names, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    raise Refusal(
        f"The project declares no environment named {chosen!r}",
        "environment",
        f"{hint}Declared: {', '.join(names)}.",
        "NotFound",
    )


def explain_unreadable(project: Any, error: Exception) -> Refusal:
    """Why Meltano does not read the project: its own error names neither the plugin nor the setting."""
    from meltano.core.plugin import PluginType
    from meltano.core.plugin.project_plugin import ProjectPlugin
    from meltano.core.setting_definition import SettingDefinition, SettingKind
    from ruamel.yaml.error import YAMLError

    if isinstance(error, YAMLError):
        mark = getattr(error, "problem_mark", None)
        where = f"{Path(mark.name).name} (line {mark.line + 1})" if mark else "meltano.yml"
        problem = str(getattr(error, "problem", None) or type(error).__name__).splitlines()[0]
        return Refusal(f"Meltano cannot read {where}: {problem}", "project", "Correct the file.")
    try:
        plugins = project.project_files.load().get("plugins") or {}
    except Exception:
        return Refusal(f"Meltano cannot read the project: {first_line(error)}", "project", "Correct meltano.yml.")
    kinds = [item.value for item in PluginType]
    for kind, entries in plugins.items():
        if kind not in kinds:
            return Refusal(
                f"plugins.{kind} is not a kind of plugin", f"plugins.{kind}", f"Meltano knows: {', '.join(kinds)}."
            )
        for number, entry in enumerate(entries or []):
            name = entry.get("name") if isinstance(entry, Mapping) else None
            if not name:
                place = f"plugins.{kind}[{number}]"
                return Refusal(f"{place} has no name", place, "Give each plugin a name.")
            for setting in entry.get("settings") or []:
                try:
                    SettingDefinition.parse(setting)
                except Exception:
                    return explain_setting(name, setting, [item.value for item in SettingKind])
            try:
                ProjectPlugin(PluginType(kind), **entry)
            except Exception as wrong:
                return Refusal(f"{name}: Meltano refuses its entry: {first_line(wrong)}", name, "Correct meltano.yml.")
    return Refusal(f"Meltano cannot read the project: {first_line(error)}", "project", "Correct meltano.yml.")


def explain_setting(plugin: str, setting: Any, kinds: list[str]) -> Refusal:
    name = setting.get("name") if isinstance(setting, Mapping) else None
    if not name:
        return Refusal(f"{plugin}: one of its settings has no name", plugin, "Give each setting a name.")
    kind = setting.get("kind")
    close = get_close_matches(str(kind), kinds, n=1)
    hint = f"Did you mean {close[0]}? " if close else ""
    return Refusal(
        f"{plugin}: setting {name} has the kind {kind!r}, which Meltano does not know",
        f"{plugin}.{name}",
        f"{hint}It knows: {', '.join(kinds)}.",
    )


def first_line(error: Exception) -> str:
    """The type and what of the message cannot be a value: all of it, but for texts in quotes and what follows."""
    text = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__} {text.split(': ')[0][:200]}".strip()


def project_settings(project: Any) -> dict[str, Any]:
    service = project.settings
    found = {}
    for item in service.definitions():
        if item.name.startswith(PROJECT_SETTINGS):
            value = plugin_values.setting_value(service, item, None, plugin_values.project_blocks(project))
            found[item.name] = {**value, "sensitive": bool(item.sensitive)}
    return found


# ------------------------------------------------------------------------------------------------ plugins


def find_plugin(project: Any, kind: str, name: str) -> Any:
    """The plugin with what it inherits; of kind `mappings` the mapper as it is with that mapping."""
    from meltano.core.plugin import PluginType
    from meltano.core.project_plugins_service import AmbiguousMappingName

    try:
        plugin = project.plugins.find_plugin(name)
        if kind not in ("mappings", "extractors", "loaders"):
            plugin = project.plugins.find_plugin(name, plugin_type=PluginType(kind))
    except AmbiguousMappingName:
        remedy = "Give one of them another name."
        raise Refusal(f"Several mappers declare a mapping named {name!r}", name, remedy) from None
    except RecursionError:
        raise Refusal(f"{name} inherits from itself", name, "Correct inherit_from in meltano.yml.") from None
    if plugin.is_mapping() if kind == "mappings" else str(plugin.type) == kind:
        return plugin
    # `meltano run` goes by the name alone, and takes the first.
    what = f"{plugin.type.descriptor} too"
    raise Refusal(f"{name} is the name of a {what}", name, "Give one of them another name in meltano.yml.")


def prevent_writes() -> None:
    """Nothing is written to it: no folder for lock files, and no definition as the hub has it today, with which two
    runs of one commit could differ."""
    from meltano.core.plugin_lock_service import PluginLockService
    from meltano.core.project_dirs_service import ProjectDirsService

    PluginLockService._save_from_hub = refuse_missing_definition
    path = ProjectDirsService.plugin_lock_path
    ProjectDirsService.plugin_lock_path = lambda self, *names, **options: path(
        self, *names, **{**options, "make_dirs": False}
    )


def refuse_missing_definition(
    service: Any, *, plugin_type: Any, plugin_name: str, variant_name: str | None = None, **_: Any
) -> Any:
    declared = [item for item in service.project.plugins.plugins(ensure_parent=False) if item.type == plugin_type]
    asking = [item.name for item in declared if plugin_name in (item.name, item.inherit_from)]
    folder = service.project.root / "plugins" / plugin_type
    locked = sorted(path.stem.partition("--")[2] for path in folder.glob(f"{plugin_name}--*.lock"))
    variant = variant_name if variant_name not in (None, "default") else ""
    what = f"{plugin_name}, variant {variant}" if variant else plugin_name
    if locked:
        raise Refusal(
            f"plugins/ holds no definition of {what}",
            plugin_name,
            f"Write `variant: {locked[0]}` into the entry of {' and '.join(asking)} in meltano.yml; it is locked for "
            f"{', '.join(locked)}.",
        )
    if plugin_name in [item.name for item in declared]:
        raise Refusal(
            f"The project holds no definition of {what}",
            plugin_name,
            f"Run `meltano lock --plugin-type {plugin_type.singular} {plugin_name}` and commit plugins/; a plugin of "
            "your own needs a namespace in meltano.yml.",
        )
    option = f" --variant {variant}" if variant else ""
    raise Refusal(
        f"{' and '.join(asking)} inherits from {what}, which the project neither declares nor has locked",
        plugin_name,
        f"Run `meltano add --no-install --plugin-type {plugin_type.singular}{option} {plugin_name}` and commit "
        "meltano.yml and plugins/, or correct inherit_from.",
    )


def describe_plugin(project: Any, plugin: Any) -> dict[str, Any]:
    from meltano.core.plugin.project_plugin import ProjectPlugin
    from meltano.core.plugin.settings_service import PluginSettingsService

    service = PluginSettingsService(project, plugin)
    heir = isinstance(plugin.parent, ProjectPlugin)
    lock = project.plugins.lock_service.plugin_lock_path(plugin=plugin, variant_name=plugin.variant)
    return {
        "kind": str(plugin.type),
        "name": plugin.name,
        "mapping": plugin.extra_config.get("_mapping_name") or "",
        "namespace": plugin.namespace or "",
        "variant": plugin.variant or "",
        "executable": plugin.executable or "",
        "folder": plugin.plugin_dir_name,
        "parent": plugin.parent.name if heir or plugin.inherit_from else "",
        "lock": "" if heir or plugin.is_custom() else str(lock.relative_to(project.root)),
        "capabilities": [str(item) for item in plugin.capabilities or []],
        "groups": [[str(name) for name in group] for group in plugin.settings_group_validation or []],
        "settings": [describe_setting(service, item) for item in service.definitions()],
    }


def describe_setting(service: Any, item: Any) -> dict[str, Any]:
    return {
        "name": item.name,
        "kind": str(item.kind or ""),
        "sensitive": bool(item.sensitive),
        "required": getattr(item, "required", None) is True,
        "aliases": list(item.aliases),
        "variables": [variable.key for variable in service.setting_env_vars(item)],
    }


def resolve_block_set(project: Any, names: list[list[str]]) -> list[dict[str, Any]]:
    """The plugins of one block set, in its order: each sees the variables of those before it, as in `meltano run`."""
    from meltano.core.plugin.settings_service import PluginSettingsService

    before: dict[str, str] = {}
    results = []
    for kind, name in names:
        plugin = find_plugin(project, kind, name)
        service = PluginSettingsService(project, plugin, env_override=dict(before))
        results.append(plugin_values.resolve_plugin(project, plugin, service))
        if not any(item["problem"] for item in results[-1]["settings"].values()):
            before |= {**plugin.info_env, **service.as_env()}
    return results
