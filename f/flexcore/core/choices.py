# requirements: flexcore_base
# py: ==3.11.*
"""Choices of a form's dynamic select, in Windmill's form: a list of {label, value}. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Choices = list[dict[str, str]]


def matching(pairs: Iterable[tuple[str, str]], typed: str = "") -> Choices:
    """The (label, value) pairs whose label contains what was typed."""
    return [{"label": label, "value": value} for label, value in pairs if (typed or "").lower() in label.lower()]


def resource_choices(resources: Iterable[Mapping[str, Any]], typed: str = "") -> Choices:
    """Resources of any type as references that Windmill resolves when the job starts: secrets are never in the form."""
    listed = sorted((str(item["path"]), str(item.get("resource_type") or "")) for item in resources)
    return matching([(f"{path} ({kind})" if kind else path, f"$res:{path}") for path, kind in listed], typed)
