# requirements: flexcore_base
"""What plugins of a project get, asked of Meltano's own services: the values of their settings, requirements and
variables, each with the variables that it refers to and that have no value.

Runs in Meltano's environment, as a part of project_inspector.py.
Source: meltano.core settings_service, plugin_install_service, plugin_invoker, 4.4.1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

# Meltano's own variables; many definitions refer to some that a run without a transformer does not have.
OWN_PREFIX = "MELTANO_"


class Expansions:
    """Listens to Meltano's own expansion of variables: with which variables it filled in which text."""

    def __init__(self) -> None:
        self.expanded: list[tuple[Any, Mapping[str, Any]]] = []

    def listen(self) -> None:
        import meltano.core.plugin_install_service as install_service
        import meltano.core.plugin_invoker as invoker
        import meltano.core.settings_service as settings_service

        settings_service.do_expand_env_vars = self._wrap(settings_service.do_expand_env_vars)
        install_service.expand_env_vars = self._wrap(install_service.expand_env_vars)
        invoker.expand_env_vars = self._wrap(invoker.expand_env_vars)

    def _wrap(self, expand: Callable[..., Any]) -> Callable[..., Any]:
        def expand_and_note(raw: Any, env: Mapping[str, Any], **options: Any) -> Any:
            self.expanded.append((raw, env))
            return expand(raw, env=env, **options)

        return expand_and_note

    def find_env(self, raw: Any) -> Mapping[str, Any]:
        """The variables with which this very text or block was filled in last."""
        return next((env for text, env in reversed(self.expanded) if text is raw), {})


EXPANSIONS = Expansions()


def project_blocks(project: Any) -> dict[str, Any]:
    """What `env:` blocks of the project and of its environment hold, as written."""
    return {**project.meltano.env, **project.environment.env}


def resolve_plugin(project: Any, plugin: Any, service: Any) -> dict[str, Any]:
    from meltano.core.settings_store import SettingValueStore

    blocks = plugin_blocks(project, plugin)
    manager = SettingValueStore.AUTO.manager(service, bulk=True)
    EXPANSIONS.expanded.clear()
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
    blocks = project_blocks(project)
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
    env = EXPANSIONS.find_env(raw)
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

    EXPANSIONS.expanded.clear()
    env = PluginInstallService(project).plugin_installation_env(plugin)
    # Blocks are filled in before the URL is: what was missing there is an empty place here.
    inner = [
        {"variable": name, "path": "", "inner": part["variable"]}
        for name, _ in list_variables(plugin.pip_url)
        for text, known in EXPANSIONS.expanded
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

    invoker = SimpleNamespace(
        project=project,
        plugin=plugin,
        settings_service=service,
        plugin_config_env=config_env,
        tracker=SimpleNamespace(env={}),
        files=defaultdict(str),
        venv=None,
    )
    EXPANSIONS.expanded.clear()
    env = PluginInvoker.env(invoker)
    own = [plugin.env, service.environment_plugin_config.env]
    return {
        "value": {name: str(env[name]) for name in blocks if env.get(name) is not None},
        "unset": [
            {**item, "path": name}
            for block in own
            for name, raw in block.items()
            for item in list_unset(raw, EXPANSIONS.find_env(block), {})
        ],
    }


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
