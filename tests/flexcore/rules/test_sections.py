"""A flow's section is compared with all requests that it becomes, at the line where it differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexcore.rules import sections
from wmlocal.lint.positions import read

ROOT = Path(__file__).parents[3]
# name: (flow, section, before, after, words of the line, field and kind)
WRONG = {
    "a default": (
        sections.DATA,
        "ray",
        "default: xgboost",
        "default: lightgbm",
        "lightgbm",
        "ray.algorithm",
        "default",
    ),
    "a bound that is gone": (
        sections.DATA,
        "data",
        "          minimum: 0\n          type: integer",
        "          type: integer",
        "rows:",
        "data.rows",
        "minimum",
    ),
    "another bound": (
        sections.HYBRID,
        "ml",
        "maximum: 0.99",
        "maximum: 9.99",
        "maximum: 9.99",
        "ml.test_fraction",
        "maximum",
    ),
    "a description": (
        sections.HYBRID,
        "ml",
        "description: Column to predict.",
        "description: A column.",
        "description: A column.",
        "ml.target_column",
        "description",
    ),
    "a choice that is gone": (sections.DATA, "ray", "          - regression\n", "", "enum:", "ray.task", "choices"),
    "a field that the request does not have": (
        sections.DATA,
        "data",
        "        tables:\n",
        "        views:\n          type: array\n        tables:\n",
        "views:",
        "data.views",
        "extra",
    ),
    "an order": (
        sections.DATA,
        "data",
        "      - tables\n      - manifest\n",
        "      - manifest\n      - tables\n",
        "order:",
        "data.order",
        "order",
    ),
    "a section that is gone": (
        sections.HYBRID,
        "ml",
        "    ml:\n",
        "    learning:\n",
        "properties:",
        "ml",
        "missing",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_difference_is_found_at_its_line(name: str) -> None:
    file, path, before, after, words, field, kind = WRONG[name]
    text = (ROOT / file).read_text()
    assert before in text
    text = text.replace(before, after, 1)
    (section,) = [item for item in sections.list_sections() if (item.file, item.name) == (file, path)]
    (found,) = sections.compare_section(section, read(text))
    assert (found.file, found.field, found.kind) == (file, field, kind)
    assert words in text.splitlines()[found.line - 1]
