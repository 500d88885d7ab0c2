# requirements: flexcore_base
"""A model card as markdown with metadata, in the form that Hugging Face's hub reads. Shipped as source.

Source: huggingface_hub, ModelCard (YAML front matter, model-index with results). What comes from the data or the
request is data here, too: in the front matter as JSON, which is YAML, and in the text with its markup escaped.
"""

from __future__ import annotations

import json
import re
from typing import Any

Json = dict[str, Any]
NAME = "README.md"
MAX_FEATURES = 50
MAX_NOTES = 50
MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|<>~&$-])")
# Control characters, line and paragraph separators: they would start a line of their own.
BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
NOT_MEASURED = "not measured"
TASKS = {
    "regression": "tabular-regression",
    "classification": "tabular-classification",
    "ranking": "text-ranking",
}


def make_card(facts: Json) -> str:
    """facts: {manifest, task, source, split, parameters, importance: [(feature, loss)], notes, code}; the manifest as
    the result of the training has it."""
    manifest = facts["manifest"]
    sections = [
        f"# {escape(manifest['name'])} {escape(manifest['version'])}",
        f"{escape(facts['task'].capitalize())} of {code(manifest['target'])} by {code(manifest['algorithm'])}, "
        f"learned from {count(manifest['rows'])} rows and {len(manifest['signature']['inputs'])} columns.",
        *section("Measures on held-out rows", make_table(("Measure", "Value"), list_metrics(manifest["metrics"]))),
        *section("Data", make_list(describe_source(facts["source"]))),
        *section("Split", make_list(describe_split(facts["split"]))),
        *section("Parameters", make_table(("Parameter", "Value"), list_values(facts["parameters"]))),
        *section("Importance of the features", describe_importance(facts["importance"])),
        *section("Inputs", make_table(("Column", "Type"), list_columns(manifest["signature"]["inputs"]))),
        *section("Versions", make_table(("Package", "Trained with"), list_values(manifest["versions"]))),
        *section("Code", f"sha256 {code(facts['code'])} of the training program that wrote this model."),
        *section("Notes", make_list([escape(note) for note in facts["notes"][:MAX_NOTES]])),
    ]
    return f"---\n{make_front_matter(facts)}---\n\n" + "\n\n".join(sections) + "\n"


def make_front_matter(facts: Json) -> str:
    """One line for each key, its value as JSON, which is YAML."""
    manifest = facts["manifest"]
    metrics = [
        {"type": name, "value": value, "name": name} for name, value in manifest["metrics"].items() if value is not None
    ]
    result = {
        "task": {"type": TASKS[facts["task"]]},
        "dataset": {"type": "flexcore", "name": facts["source"]["stream"], "revision": facts["source"]["checksum"]},
        "metrics": metrics,
    }
    fields = {
        "library_name": manifest["framework"]["name"],
        "pipeline_tag": TASKS[facts["task"]],
        "tags": ["flexcore", manifest["format"]],
        "model_name": manifest["name"],
        "model_version": manifest["version"],
        "model-index": [{"name": manifest["name"], "results": [result]}],
        "versions": manifest["versions"],
        "code_sha256": facts["code"],
    }
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in fields.items())


def section(title: str, body: str) -> list[str]:
    return [f"## {title}", body] if body else []


def describe_source(source: Json) -> list[str]:
    return [
        f"Stream {code(source['stream'])} of {code(source['uri'])}, {count(source['rows'])} rows in "
        f"{len(source['files'])} files",
        f"Checksum of the files: {code(source['checksum'])}",
    ]


def describe_split(split: Json) -> list[str]:
    by = "whole groups" if split["by"] == "group" else "the content of the rows"
    lines = [
        f"{count(split['seen'])} rows are learned from, {split['held_out']:,} are held out (a fraction of "
        f"{split['fraction']:g} was asked for), by {by}",
    ]
    if split["validation"]:
        lines.append(f"{split['validation']:,} rows decided when to stop early")
    if split["dropped"]:
        lines.append(f"{split['dropped']:,} rows have no target and are left out")
    lines += [f"{count(rows)} rows of the class {code(name)}" for name, rows in split["classes"].items()]
    if split["weights"]:
        lines.append(f"Class weights: {', '.join(code(item) for item in split['weights'])}")
    return lines


def describe_importance(importance: list[Any]) -> str:
    if not importance:
        return ""
    rows = [(code(name), f"{loss:.4g}") for name, loss in importance[:MAX_FEATURES]]
    return make_table(("Feature", "Loss of the score without it"), rows)


def list_metrics(metrics: Json) -> list[tuple[str, str]]:
    return [(code(name), NOT_MEASURED if value is None else f"{value:.6g}") for name, value in metrics.items()]


def list_values(values: Json) -> list[tuple[str, str]]:
    return [(code(name), code(value)) for name, value in values.items()]


def list_columns(columns: list[Json]) -> list[tuple[str, str]]:
    return [(code(item["name"]), item["datatype"]) for item in columns]


def make_table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines) if rows else ""


def make_list(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def count(number: int | None) -> str:
    return NOT_MEASURED if number is None else f"{number:,}"


def code(value: Any) -> str:
    """A name or value as it is, on one line, with its markup escaped."""
    return escape(value if isinstance(value, str) else json.dumps(value, default=str))


def escape(text: str) -> str:
    return MARKUP.sub(r"\\\1", BREAKS.sub(" ", str(text)))
