# requirements: flexcore_api
"""Worker tags that a workflow needs and no worker listens to: Windmill queues such jobs, and they wait for ever.

Windmill gives a flow's job its flow's tag, and a step's job the tag of its script, else that of its kind of work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from f.flexcore.lib.core import errors

FLOW_TAG = "flow"
# Languages whose jobs have another tag than the language's name.
LANGUAGE_TAGS = {"bunnative": "nativets"}
SCRIPTS_PAGE = 1000
MODULES = ("value", "modules", "default", "branches", "failure_module", "preprocessor_module")
REMEDY = "Start a worker with WORKER_TAGS that hold it, or let `flexcore config apply` add it to a group."


class Server(Protocol):
    def get(self, path: str, **query: Any) -> Any: ...

    def served_tags(self, tags: Iterable[str]) -> Mapping[str, bool]: ...


def find_unserved_tags(windmill: Server, path: str) -> dict[str, list[str]]:
    """Tags without a worker → the scripts and flows, by path, that wait for one. path: of a flow.

    Raises as the client does; NotFound when the flow, or a flow that it runs, is not there."""
    needed = _read_needed_tags(windmill, path)
    served = windmill.served_tags(sorted(needed)) if needed else {}
    return {tag: sorted(needed[tag]) for tag in sorted(needed) if not served.get(tag)}


def warn_of_unserved_tags(windmill: Server, path: str) -> list[str]:
    """One sentence for each tag without a worker. Empty, too, when the server cannot say: a start never fails by it."""
    try:
        found = find_unserved_tags(windmill, path)
    except errors.FlexcoreError:
        return []
    return [f"No worker listens to the tag {tag}: {_enumerate(who)} will wait. {REMEDY}" for tag, who in found.items()]


def _enumerate(paths: list[str]) -> str:
    more = len(paths) - 3
    return ", ".join(paths[:3]) + (f" and {more} more" if more > 0 else "")


def _read_needed_tags(windmill: Server, path: str) -> dict[str, set[str]]:
    script_tags = _read_script_tags(windmill, path)
    needed: dict[str, set[str]] = {}
    left, seen = [path], {path}
    while left:
        flow = windmill.get(f"flows/get/{(name := left.pop())}")
        needed.setdefault(str(flow.get("tag") or FLOW_TAG), set()).add(name)
        for step in _steps(flow.get("value")):
            used = str(step.get("path") or name)
            if step.get("type") == "flow" and used not in seen:
                left.append(used)
                seen.add(used)
            elif tag := _step_tag(step, script_tags):
                needed.setdefault(tag, set()).add(used)
    # A tag with a part that each job fills in, such as gpu-$args[size], is known when the job is there.
    return {tag: users for tag, users in needed.items() if "$" not in tag}


def _read_script_tags(windmill: Server, path: str) -> dict[str, str]:
    """Of the scripts in the bundle, and in the folder of the flow where that is another one."""
    folders = {"f/flexcore/", "/".join(path.split("/")[:2]) + "/"}
    lists = [windmill.get("scripts/list", per_page=SCRIPTS_PAGE, path_start=folder) for folder in sorted(folders)]
    return {str(script["path"]): _tag(script.get("tag"), script.get("language")) for found in lists for script in found}


def _step_tag(step: Mapping[str, Any], script_tags: Mapping[str, str]) -> str:
    """Empty where a step has no job of its own, or where its script is in neither folder."""
    match step.get("type"):
        case "script":
            return str(step.get("tag_override") or script_tags.get(str(step.get("path")), ""))
        case "rawscript":
            return _tag(step.get("tag"), step.get("language"))
    return ""


def _tag(own: Any, language: Any) -> str:
    return str(own or LANGUAGE_TAGS.get(str(language), language) or "")


def _steps(value: Any) -> Iterator[Mapping[str, Any]]:
    """The values of all modules of a flow, the nested ones, the preprocessor and the failure module included."""
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield value
        for name in MODULES:
            yield from _steps(value.get(name))
    elif isinstance(value, list):
        for item in value:
            yield from _steps(item)
