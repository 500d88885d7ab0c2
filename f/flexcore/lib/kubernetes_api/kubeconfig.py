# requirements: flexcore_kubernetes
"""The text of a kubeconfig as plain data. Pure; neither the text nor a value of it appears in an error.

Every scalar is the text that stands there: YAML would make a number of the name 2024 and true of the name on. What
kubectl takes is taken, wrapped base64 and !!binary too; what it refuses is refused with the line or the name.

Several documents count as the files of a KUBECONFIG list: for each name, and for the current context, the first that
says it. Of one file kubectl reads the first document alone, which is the same but for what the others add.
Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import yaml

from f.flexcore.lib.core import errors

FLATTEN = "Give the text that `kubectl config view --raw --flatten --minify` prints."
MERGE = "Give the text that `kubectl config view --raw --flatten` prints: it merges several files into one."
SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
TAB_BEHIND_TEXT = re.compile(r"(?m)(?<=\S) *\t[ \t]*|^ *\t[ \t]*$")
# /home/me/.kube/config:/other, ~/.kube/config, C:\Users\me\.kube\config;D:\other
PATHS = re.compile(r"(?:(?:export )?KUBECONFIG=)?[\"']?(?:~|\.{0,2}/|[A-Za-z]:\\)\S[^\n]*")
NULLS = ("", "~", "null", "Null", "NULL")
TRUE, FALSE = ("true", "yes", "on", "y"), ("false", "no", "off", "n")


class Plain(str):
    """A scalar without quotes: what YAML may take for something else than text."""

    __slots__ = ()


# A step reads the same text when it checks its request and when it connects.
@lru_cache(maxsize=4)
def parse_kubeconfig(text: str) -> Mapping[str, Any]:
    """{current-context, clusters, contexts, users}, the last three {name: fields}. Raises InvalidInput."""
    documents = _parse_documents(text.removeprefix("\ufeff"))
    configs = [_parse_config(document) for document in documents or [None]]
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for config in configs:
        for section, entries in sections.items():
            # The whole entry of the first that has it: two of one name are never mixed.
            sections[section] = {**config[section], **entries}
    chosen = [config["current-context"] for config in configs]
    # What looks like a null may be the name of a context, written without quotes.
    named = (name for name in chosen if to_text(name) or (name is not None and str(name) in sections["contexts"]))
    return {"current-context": next(named, ""), **sections}


def _parse_config(config: Any) -> dict[str, Any]:
    """One document in the same form."""
    if isinstance(config, list):
        raise not_kubeconfig("it is a list", MERGE)
    if isinstance(config, str) and PATHS.fullmatch(config.strip()):
        raise not_kubeconfig("it is a path or a list of paths", MERGE)
    if isinstance(config, str) and _is_encoded(config):
        raise not_kubeconfig("it is base64", "Decode it (base64 -d) and give the text.")
    if not isinstance(config, dict):
        raise not_kubeconfig("YAML with clusters, users and contexts is expected")
    kind, version = to_text(config.get("kind")) or "Config", to_text(config.get("apiVersion")) or "v1"
    if (kind, version) != ("Config", "v1"):
        what = f"{kind} of {version}" if re.fullmatch(r"[\w./-]{1,80}", kind + version) else "something else"
        raise not_kubeconfig(f"it is {what}")
    if not any(name in config for name in (*SECTIONS, "current-context")):
        raise not_kubeconfig("YAML with clusters, users and contexts is expected")
    sections = {section: _parse_entries(config.get(section), section, kind) for section, kind in SECTIONS.items()}
    return {"current-context": config.get("current-context", ""), **sections}


def to_text(value: Any) -> str:
    """The text of a field, "" when it is null or not there."""
    return "" if value is None or (isinstance(value, Plain) and value in NULLS) else str(value)


def parse_flag(entry: Mapping[str, Any], name: str) -> bool:
    text = to_text(entry.get(name)).lower()
    if text and text not in (*TRUE, *FALSE):
        raise wrong(f"has {name} that is neither true nor false", "Correct the field.")
    return text in TRUE


def decode_base64(entry: Mapping[str, Any], name: str) -> str:
    """The text in a base64 field, "" when there is none."""
    data = re.sub(r"\s+", "", to_text(entry.get(name)))
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise wrong(f"has a {name} that is not base64 of PEM", FLATTEN) from None


def to_fields(value: Any, what: str) -> dict[str, Any]:
    if value is None or to_text(value) == "":
        return {}
    if not isinstance(value, dict):
        raise wrong(f"has {what} that is not a mapping of fields", FLATTEN)
    return value


def wrong(problem: str, remedy: str, subject: str = "cluster.kubeconfig") -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject} {problem}", subject=subject, remedy=remedy)


def not_kubeconfig(problem: str, remedy: str = FLATTEN) -> errors.InvalidInput:
    return wrong(f"is not a kubeconfig: {problem}", remedy)


def _parse_entries(items: Any, section: str, kind: str) -> dict[str, dict[str, Any]]:
    """{name: fields}; kubectl takes no name twice, whether it is used or not."""
    if to_text(items) == "" and not isinstance(items, list):
        items = []
    if not isinstance(items, list):
        raise not_kubeconfig(f"its {section} are not a list")
    entries: dict[str, dict[str, Any]] = {}
    for item in items:
        if not isinstance(item, dict):
            raise not_kubeconfig(f"each of its {section} must have a name and a {kind}")
        name = str(item.get("name") or "")
        if name in entries:
            raise wrong(f"has two {section} named {name!r}", f"Remove or rename one of the {section}, as kubectl asks.")
        entries[name] = to_fields(item.get(kind), f"the {kind} {name!r}")
    return entries


def _parse_documents(text: str) -> list[Any]:
    if text.lstrip().startswith("{"):
        try:
            # As JSON it may be indented by tabs.
            return [_to_text_tree(json.loads(text))]
        except (ValueError, RecursionError):
            pass
    try:
        documents = _load(text)
    except yaml.YAMLError:
        documents = _load_without_tabs(text)
    except RecursionError:
        raise not_kubeconfig("it is nested too deeply") from None
    return [item for item in documents if not (isinstance(item, str) and to_text(item) == "")]


def _load_without_tabs(text: str) -> list[Any]:
    """kubectl takes tabs behind a field's name, and never as indentation."""
    try:
        return _load(TAB_BEHIND_TEXT.sub(" ", text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = (mark.line if mark else 0) + 1
        lines = text.splitlines()
        at = next((n for n in (line, line - 1) if 0 < n <= len(lines) and re.match(r" *\t", lines[n - 1])), 0)
        if at:
            raise not_kubeconfig(f"there is a tab at line {at}", "Indent by blanks only; YAML takes no tabs.") from None
        raise not_kubeconfig(f"line {line} is not valid YAML") from None
    except yaml.YAMLError:
        raise not_kubeconfig("it holds characters that are not text") from None
    except RecursionError:
        raise not_kubeconfig("it is nested too deeply") from None


class _Loader(yaml.SafeLoader):
    """Scalars as text: no implicit types but the merge key."""

    yaml_implicit_resolvers = {
        "<": [("tag:yaml.org,2002:merge", re.compile("^(?:<<)$"))],
    }


def _construct_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    return Plain(text) if node.style is None else text


def _construct_binary(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return bytes(loader.construct_yaml_binary(node)).decode("utf-8", "replace")


def _construct_any(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """A tag that says nothing here (!!int 5, !mine text)."""
    if isinstance(node, yaml.ScalarNode):
        return Plain(loader.construct_scalar(node))
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    assert isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node, deep=True)


for _tag in ("int", "float", "bool", "null", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct_any)
_Loader.add_constructor("tag:yaml.org,2002:str", _construct_text)
_Loader.add_constructor("tag:yaml.org,2002:binary", _construct_binary)
_Loader.add_constructor(None, _construct_any)


def _load(text: str) -> list[Any]:
    return list(yaml.load_all(text, _Loader))


def _to_text_tree(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_text_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_text_tree(item) for item in value]
    return value if isinstance(value, str) else Plain(json.dumps(value))


def _is_encoded(text: str) -> bool:
    try:
        return b"clusters" in base64.b64decode(re.sub(r"\s+", "", text), validate=True)
    except (binascii.Error, ValueError):
        return False
