"""What a caller gives against the schema of a form."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.api.request_arguments import check_arguments, public_schema, with_defaults
from f.flexcore.lib.core.errors import InvalidInput
from tests.templates.conftest import schema_of

SINGER = {"project": {"path": "/p"}, "tap": "oracle"}
TRAINING = {"cluster": "$res:f/x/ray", "settings": "$res:f/x/settings"}


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        ("singer_extraction", SINGER | {"target": "postgres"}),
        ("singer_extraction", SINGER | {"tap_settings": "$res:f/x/oracle", "timeout_s": "$var:f/x/timeout"}),
        ("singer_extraction", SINGER | {"tap_settings": {"host": "h"}, "target": None}),
        ("ml_training", TRAINING | {"source": "files", "files": ["s3://b/*.parquet"], "file_target_column": "y"}),
        ("ml_training", TRAINING | {"data": "tap/flights", "target_column": "delay", "features": ["carrier"]}),
    ],
)
def test_a_form_can_be_filled_in_without_a_browser(template: str, arguments: dict[str, Any]) -> None:
    check_arguments(arguments, schema_of(template))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"project": {"path": "/p"}}, "arguments.tap: is required"),
        (SINGER | {"tap": 7}, "arguments.tap: must be string or object"),
        (SINGER | {"tap": ["oracle"]}, "arguments.tap: must be string or object"),
        (SINGER | {"timeout_s": "soon"}, "arguments.timeout_s: must be integer"),
        (SINGER | {"timeout_s": 0}, "arguments.timeout_s: must be at least 1"),
        (SINGER | {"load": "some"}, "arguments.load: must be one of new, all"),
        (SINGER | {"project": "f/x/project"}, "arguments.project: must match"),
        (SINGER | {"targte": "jsonl"}, "arguments.targte: is unknown, did you mean target?"),
    ],
)
def test_what_the_form_would_not_send_is_refused_by_name(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_arguments(arguments, schema_of("singer_extraction"))


def test_several_columns_are_a_list_of_names() -> None:
    with pytest.raises(InvalidInput, match=r"arguments\.features: must be array"):
        check_arguments(TRAINING | {"target_column": "delay", "features": "carrier"}, schema_of("ml_training"))


def test_what_may_be_left_unsaid_is_a_truth_or_a_word_of_the_form() -> None:
    field = {"enum": ["", "yes", "no"], "type": "string", "default": ""}
    schema = {"type": "object", "properties": {"containerized": field}}
    for value in (True, False, "yes", "", None):
        check_arguments({"containerized": value}, schema)
    with pytest.raises(InvalidInput, match=r"containerized: must be"):
        check_arguments({"containerized": 1}, schema)
    assert public_schema(schema)["properties"]["containerized"]["type"] == ["string", "boolean"]


def test_many_mistakes_are_counted() -> None:
    with pytest.raises(InvalidInput, match="; and 5 more"):
        check_arguments(SINGER | {f"x{n}": n for n in range(25)}, schema_of("singer_extraction"))


def test_a_type_that_is_none_of_json_schemas_lets_every_value_pass() -> None:
    check_arguments({"x": 1}, {"properties": {"x": {"type": "bytes"}}})


def test_what_is_not_given_is_what_the_form_would_send() -> None:
    sent = with_defaults(SINGER | {"load": "all", "target": None}, schema_of("singer_extraction"))
    assert (sent["target"], sent["load"], sent["timeout_s"]) == ("jsonl", "all", 3600)


def test_a_caller_is_told_what_a_field_takes_and_not_how_its_select_is_filled() -> None:
    told = public_schema(schema_of("ml_training"))
    fields = told["properties"]
    assert told["required"] == ["cluster"] and not any(name.startswith("x-windmill") for name in told)
    assert fields["target_column"]["type"] == ["string", "object"] and fields["features"]["type"] == "array"
    assert "string" in fields["cluster"]["type"] and fields["cluster"]["description"] == "The Ray cluster."
