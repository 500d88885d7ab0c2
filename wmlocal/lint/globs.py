"""Which files a push takes, by wmill.yaml's `includes`, `excludes` and `extraIncludes` (minimatch's patterns)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

# What the CLI takes when wmill.yaml names no includes.
DEFAULT_INCLUDES = ("f/**",)

TRIGGERS = ("http", "websocket", "kafka", "nats", "postgres", "mqtt", "amqp", "sqs", "gcp", "azure", "email")
# Options that leave out every item of a kind when they are true …
SKIPS = {
    "skipScripts": ("script",),
    "skipFlows": ("flow",),
    "skipApps": ("app", "raw_app"),
    "skipResources": ("resource",),
    "skipVariables": ("variable",),
    "skipResourceTypes": ("resource-type",),
    "skipFolders": ("folder",),
}
# … and those that do so when they are written down as false; where they are absent, files of that kind are a surprise.
INCLUDES = {
    "includeSchedules": ("schedule",),
    "includeTriggers": tuple(f"{kind}_trigger" for kind in TRIGGERS),
    "includeUsers": ("user",),
    "includeGroups": ("group",),
}


@dataclass(frozen=True, slots=True)
class Selection:
    """One set of patterns: the top level's, or a workspace's overrides on it."""

    includes: tuple[str, ...] = DEFAULT_INCLUDES
    excludes: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    # Kinds of items that it leaves out, whatever their path.
    skipped: frozenset[str] = frozenset()

    def takes(self, file: str) -> bool:
        return (
            _any(self.includes, file) and not _any(self.excludes, file) and (not self.extra or _any(self.extra, file))
        )


def selections(config: Any) -> list[Selection]:
    """The top level's first, then one for each workspace that overrides it; `config` is anything a file can hold."""
    config = config if isinstance(config, dict) else {}
    found = [_selection(config)]
    for name in ("workspaces", "gitBranches", "git_branches", "environments"):
        workspaces = config.get(name)
        for workspace in workspaces.values() if isinstance(workspaces, dict) else ():
            for key in ("overrides", "promotionOverrides"):
                overrides = workspace.get(key) if isinstance(workspace, dict) else None
                if isinstance(overrides, dict):
                    found.append(_selection(config | overrides))
    return found


def _selection(config: dict[str, Any]) -> Selection:
    return Selection(
        _patterns(config.get("includes")) or DEFAULT_INCLUDES,
        _patterns(config.get("excludes")),
        _patterns(config.get("extraIncludes")),
        frozenset(kind for key, kinds in SKIPS.items() if config.get(key) is True for kind in kinds)
        | frozenset(kind for key, kinds in INCLUDES.items() if config.get(key) is False for kind in kinds),
    )


def _patterns(value: Any) -> tuple[str, ...]:
    value = [value] if isinstance(value, str) else value
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _any(patterns: Iterable[str], file: str) -> bool:
    return any(_compile(pattern).fullmatch(file) for pattern in patterns)


@cache
def _compile(pattern: str) -> re.Pattern[str]:
    inverted = pattern.startswith("!")
    text = _translate(pattern.lstrip("!") if inverted else pattern)
    try:
        return re.compile(f"(?!{text}$).*" if inverted else text, re.DOTALL)
    except re.error:
        return re.compile(re.escape(pattern))


TOKENS = re.compile(r"/\*\*$|^\*\*/|/\*\*/|\*\*|\*|\?|\[[^\]/]+\]|[{},]|.", re.DOTALL)
MEANINGS = {"/**": "/.+", "**/": "(?:.*/)?", "/**/": "/(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _translate(pattern: str) -> str:
    depth, parts = 0, []
    for token in TOKENS.findall(pattern):
        if token == "{":
            depth += 1
            parts.append("(?:")
        elif token == "}" and depth:
            depth -= 1
            parts.append(")")
        elif token == "," and depth:
            parts.append("|")
        elif token.startswith("[") and len(token) > 2:
            parts.append("[" + token[1:-1].replace("\\", "\\\\").replace("!", "^", token[1] == "!") + "]")
        else:
            parts.append(MEANINGS.get(token) or re.escape(token))
    return "".join(parts) + ")" * depth
