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
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# Meltano's own variables; many definitions refer to some that a run without a transformer does not have.
OWN_PREFIX = "MELTANO_"
PROJECT_SETTINGS = ("project_id", "database_uri", "python", "state_backend.")


class Refusal(Exception):
    """What a person has to change; `type` is the name of one of flexcore's errors."""

    def __init__(self, message: str, subject: str, remedy: str, type: str = "InvalidInput") -> None:
        super().__init__(message)
        self.plain = {"type": type, "message": message, "subject": subject, "remedy": remedy}


class Expansions:
    """Listens to Meltano's own expansion of variables: with which variables it filled in which text."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, Mapping[str, Any]]] = []

    def listen(self) -> None:
        import meltano.core.plugin_install_service as install_service
        import meltano.core.plugin_invoker as invoker
        import meltano.core.settings_service as settings_service

        settings_service.do_expand_env_vars = self._around(settings_service.do_expand_env_vars)
        install_service.expand_env_vars = self._around(install_service.expand_env_vars)
        invoker.expand_env_vars = self._around(invoker.expand_env_vars)

    def _around(self, expand: Callable[..., Any]) -> Callable[..., Any]:
        def expand_and_note(raw: Any, env: Mapping[str, Any], **options: Any) -> Any:
            self.seen.append((raw, env))
            return expand(raw, env=env, **options)

        return expand_and_note

    def env_of(self, raw: Any) -> Mapping[str, Any]:
        """The variables with which this very text or block was filled in last."""
        return next((env for text, env in reversed(self.seen) if text is raw), {})


EXPANSIONS = Expansions()


def serve() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    silence()
    prevent_writes()
    EXPANSIONS.listen()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line)), default=to_json) + "\n")
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
        "variables": {**project.dotenv_env, **{key: str(value) for key, value in yml_env(project).items()}},
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
                f"plugins.{kind} is no kind of plugin", f"plugins.{kind}", f"Meltano knows: {', '.join(kinds)}."
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
            value = setting_value(service, item, None, yml_env(project))
            found[item.name] = {**value, "sensitive": bool(item.sensitive)}
    return found


def yml_env(project: Any) -> dict[str, Any]:
    """What `env:` blocks of the project and of its environment hold, as written."""
    return {**project.meltano.env, **project.environment.env}


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


# ------------------------------------------------------------------------------------------------ values


def resolve_block_set(project: Any, names: list[list[str]]) -> list[dict[str, Any]]:
    """The plugins of one block set, in its order: each sees the variables of those before it, as in `meltano run`."""
    from meltano.core.plugin.settings_service import PluginSettingsService

    before: dict[str, str] = {}
    results = []
    for kind, name in names:
        plugin = find_plugin(project, kind, name)
        service = PluginSettingsService(project, plugin, env_override=dict(before))
        results.append(plugin_values(project, plugin, service))
        if not any(item["problem"] for item in results[-1]["settings"].values()):
            before |= {**plugin.info_env, **service.as_env()}
    return results


def plugin_values(project: Any, plugin: Any, service: Any) -> dict[str, Any]:
    from meltano.core.settings_store import SettingValueStore

    blocks = plugin_blocks(project, plugin)
    manager = SettingValueStore.AUTO.manager(service, bulk=True)
    EXPANSIONS.seen.clear()
    settings = {
        item.name: setting_value(service, item, manager, blocks)
        for item in service.definitions()
        if not item.name.startswith("_mapping")
    }
    readable = not any(item["problem"] for item in settings.values())
    return {
        "settings": settings,
        "config": service.as_dict(extras=False, process=True) if readable else {},
        "mapping": mapping_values(project, plugin, blocks),
        "env": block_values(project, plugin, service, service.as_env() if readable else {}, blocks),
        **plugin_requirements(project, plugin, blocks),
    }


def plugin_blocks(project: Any, plugin: Any) -> dict[str, Any]:
    """What all `env:` blocks hold that a plugin's settings can refer to, its ancestors' too, as written."""
    from meltano.core.plugin.project_plugin import ProjectPlugin

    lineage = [plugin]
    while isinstance(lineage[0].parent, ProjectPlugin):
        lineage.insert(0, lineage[0].parent)
    blocks = yml_env(project)
    for item in lineage:
        blocks |= {**item.env, **project.environment.get_plugin_config(item.type, item.name).env}
    return blocks


def setting_value(service: Any, item: Any, manager: Any, blocks: Mapping[str, Any]) -> dict[str, Any]:
    """value: as the plugin gets it; source: where Meltano found it; unset: variables in it without a value; parts: what
    its variables hold; problem: why Meltano does not accept it."""
    from meltano.core.settings_store import ConflictingSettingValueException, MultipleEnvVarsSetException

    try:
        value, metadata = service.get_with_metadata(item.name, setting_def=item, source_manager=manager)
        raw = metadata.get("unexpanded_value", value)
        result = {"value": item.post_process_value(value), "source": str(metadata["source"]), "problem": ""}
    except (ConflictingSettingValueException, MultipleEnvVarsSetException) as error:
        names = error.args[0] if error.args else []
        problem = f"is set by several names at once: {', '.join(str(name) for name in names)}"
        return {"value": None, "source": "", "problem": problem, "unset": [], "parts": {}}
    except (ValueError, ArithmeticError):
        options = [str(option.get("value")) for option in item.options]
        kind = f"one of {', '.join(options)}" if options else f"a value of the kind {item.kind}"
        return {"value": None, "source": "", "problem": f"is not {kind}", "unset": [], "parts": {}}
    env = EXPANSIONS.env_of(raw)
    return {**result, "unset": list_unset(raw, env, blocks), "parts": variable_values(raw, env)}


def mapping_values(project: Any, plugin: Any, blocks: Mapping[str, Any]) -> dict[str, Any] | None:
    """A mapping's own config. Meltano fills it in apart from the settings: without the environment's `env:` block."""
    from meltano.core.plugin.singer.mapper import SingerMapper
    from meltano.core.utils import expand_env_vars

    if not plugin.is_mapping():
        return None
    raw = SingerMapper._get_mapping_config(plugin.extra_config)
    env = {**project.dotenv_env, **project.settings.env}
    return {
        "value": expand_env_vars(raw, env),
        "unset": list_unset(raw, env, blocks),
        "parts": variable_values(raw, env),
    }


def plugin_requirements(project: Any, plugin: Any, blocks: Mapping[str, Any]) -> dict[str, Any]:
    """What is installed for the plugin, as `meltano install` would; and variables without a value."""
    from meltano.core.plugin_install_service import PluginInstallService, get_pip_install_args

    EXPANSIONS.seen.clear()
    env = PluginInstallService(project).plugin_installation_env(plugin)
    # Blocks are filled in before the URL is: what was missing there is an empty place here.
    inner = [
        {"variable": name, "path": "", "inner": part["variable"]}
        for name, _ in list_variables(plugin.pip_url)
        for text, known in EXPANSIONS.seen
        if isinstance(text, Mapping) and name in blocks and text.get(name) == blocks[name]
        for part in list_unset(text[name], known, {})
    ]
    return {
        "pip_arguments": get_pip_install_args(project, plugin, env),
        "pip_unset": [*list_unset(plugin.pip_url, env, {}), *inner],
        "python": str(plugin.python or project.settings.get("python") or project.python_version or ""),
    }


def block_values(
    project: Any, plugin: Any, service: Any, config_env: Mapping[str, str], blocks: Mapping[str, Any]
) -> dict[str, Any]:
    """The variables of `env:` blocks as the plugin gets them, by Meltano's own invoker; and those that it leaves empty.

    A block that Meltano does not fill in where the plugin itself declares it is the plugin's fault alone.
    """
    from meltano.core.plugin_invoker import PluginInvoker

    stand_in = SimpleNamespace(
        project=project,
        plugin=plugin,
        settings_service=service,
        plugin_config_env=config_env,
        tracker=SimpleNamespace(env={}),
        files=defaultdict(str),
        venv=None,
    )
    EXPANSIONS.seen.clear()
    env = PluginInvoker.env(stand_in)
    own = [plugin.env, service.environment_plugin_config.env]
    return {
        "value": {name: str(env[name]) for name in blocks if env.get(name) is not None},
        "unset": [
            {**item, "path": name}
            for block in own
            for name, raw in block.items()
            for item in list_unset(raw, EXPANSIONS.env_of(block), {})
        ],
    }


# ------------------------------------------------------------------------------------------------ variables


def list_variables(value: Any) -> list[tuple[str, str]]:
    """(variable, where it stands in the value) for each variable, by Meltano's own pattern."""
    from meltano.core.utils import ENV_VAR_PATTERN

    found = [
        (match["curly"] or match["normal"], path)
        for path, text in iterate_texts(value)
        for match in ENV_VAR_PATTERN.finditer(text)
        if not match["escape"]
    ]
    return list(dict.fromkeys(found))


def list_unset(raw: Any, env: Mapping[str, Any], blocks: Mapping[str, Any]) -> list[dict[str, str]]:
    """The variables in a value that have no value themselves; `inner` where an `env:` block sets a variable from
    another one that Meltano leaves as it stands. A dollar that is part of a secret is no such variable."""
    referred = [name for name, _ in list_variables(blocks)]
    found = []
    for name, path in list_variables(raw):
        if name.startswith(OWN_PREFIX):
            continue
        if name not in env:
            found.append({"variable": name, "path": path, "inner": ""})
        elif name in blocks:
            inner = [
                item for item, _ in list_variables(env[name]) if item in referred and not item.startswith(OWN_PREFIX)
            ]
            found += [{"variable": name, "path": path, "inner": item} for item in inner]
    return found


def variable_values(raw: Any, env: Mapping[str, Any]) -> dict[str, str]:
    """What the variables in a value hold."""
    return {
        name: str(env[name]) for name, _ in list_variables(raw) if env.get(name) and not name.startswith(OWN_PREFIX)
    }


def iterate_texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from iterate_texts(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from iterate_texts(item, f"{path}[{number}]")


def to_json(value: Any) -> Any:
    """What JSON does not know, as Meltano writes it into a plugin's configuration."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return float(value) if type(value).__name__ == "Decimal" else str(value)


if __name__ == "__main__":
    serve()
