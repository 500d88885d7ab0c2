# requirements: flexcore_base
"""Label selectors of Ray: how they are written, and which nodes one of them chooses. Pure.

    {"ray.io/accelerator-type": "A100"}     has the label with this value
    {"zone": "!b"}                          has another value, or no such label
    {"zone": "in(a, b)"}, {"zone": "!in(a, b)"}
Source: ray/_private/label_utils.py and src/ray/common/scheduling/label_selector.h of Ray 2.60.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

WORD = r"[a-zA-Z0-9](?:[a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
KEY = re.compile(rf"(?:[a-zA-Z0-9.-]{{1,253}}/)?{WORD}")
VALUE = re.compile(rf"!?{WORD}|!?in\({WORD}(?:, ?{WORD})*\)")
MAX_SHOWN_VALUES = 8
# What forms say of the field.
FIELD = "Labels of the nodes that do the work, as {name: value}; a value may be !b, in(a, b) or !in(a, b)."
Labels = Mapping[str, str]


def check_selector(value: dict[str, str]) -> dict[str, str]:
    """The selector when Ray can take it; ValueError that names the wrong part otherwise."""
    for name, wanted in value.items():
        if not KEY.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a label: write it like zone or example.com/zone")
        if not VALUE.fullmatch(wanted):
            raise ValueError(f"{name}: {wanted!r} cannot be chosen: write a value, !value, in(a, b) or !in(a, b)")
    return value


Selector = Annotated[dict[str, str], AfterValidator(check_selector)]


def matches(labels: Labels, selector: Labels) -> bool:
    return all(_matches_one(labels.get(name), wanted) for name, wanted in selector.items())


def _matches_one(value: str | None, wanted: str) -> bool:
    positive = wanted.removeprefix("!")
    values = re.split(r", ?", positive[3:-1]) if positive.startswith("in(") else [positive]
    return (value in values) != wanted.startswith("!")


def find_problem(nodes: Sequence[Labels], selector: Labels) -> str:
    """Why none of the nodes is chosen, with what there is instead; "" when one is. nodes: the labels of each."""
    if any(matches(labels, selector) for labels in nodes):
        return ""
    for name, wanted in selector.items():
        if not any(matches(labels, {name: wanted}) for labels in nodes):
            return f"no node has the label {name}: {wanted} ({_describe(nodes, name)})"
    pairs = ", ".join(f"{name}: {wanted}" for name, wanted in selector.items())
    return f"no single node has all of the labels {pairs}"


def _describe(nodes: Sequence[Labels], name: str) -> str:
    values = sorted({labels[name] for labels in nodes if name in labels})
    if values:
        return f"{name} is {', '.join(values[:MAX_SHOWN_VALUES])}{' …' if len(values) > MAX_SHOWN_VALUES else ''}"
    # A label that each node has for itself says nothing.
    known = sorted({key for labels in nodes for key in labels} - {"ray.io/node-id"})
    return f"the nodes have the labels {', '.join(known[:MAX_SHOWN_VALUES])}" if known else "the nodes have no labels"


def parse_nodes(nodes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Node id → labels of RayApi.nodes."""
    return {
        str(node.get("node_id")): {str(name): str(value) for name, value in (node.get("labels") or {}).items()}
        for node in nodes
    }
