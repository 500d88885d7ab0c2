"""Which texts of a stored resource are secrets: what its type marks, and what nobody has said anything about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import resources

ROOT = Path(__file__).parents[2]
HOOK = "https://hooks.example.com/services/T0/XyZ"


@pytest.mark.parametrize(
    ("type", "value", "secrets"),
    [
        ("c_flexcore_notifications", {"channel": "webhook", "webhook_url": HOOK}, {HOOK, "/services/T0/XyZ"}),
        ("c_flexcore_notifications", {"channel": "pigeon", "webhook_url": HOOK}, {HOOK}),
        ("c_flexcore_notifications", {"channel": "none", "webhok_url": HOOK}, {HOOK}),
        ("c_meltano_project", {"path": "/srv/p", "env": {"A_DSN": "s3cr", "B": "$var:f/x/v"}}, {"s3cr"}),
        ("c_ray_cluster", {"address": "http://ray:8265", "headers": {"Cookie": "c00k"}}, {"c00k"}),
        ("c_kubernetes_cluster", {"kubeconfig": "k", "context": "prod"}, {"k"}),
        ("c_flexcore_settings", {"storage_uri": "s3://b/p", "otlp_headers": "a=t0ken"}, {"a=t0ken", "t0ken"}),
        ("postgresql", {"host": "db", "dbname": "sales", "password": "p4ss"}, {"p4ss"}),
        ("theirs", {"host": "db", "user": "etl", "dsn": "x://y", "more": [{"deep": "d33p"}]}, {"x://y", "d33p"}),
        ("theirs", "a text", {"a text"}),
        ("theirs", None, set()),
        ("postgresql", ["odd"], {"odd"}),
    ],
)
def test_the_secrets_of_a_resource_are_found_whether_it_is_filled_in_right_or_not(
    type: str, value: Any, secrets: set[str]
) -> None:
    assert {text for text in resources.find_secrets(type, value) if text} == secrets


def test_every_resource_type_of_the_bundle_is_known() -> None:
    files = {file.name.removesuffix(".resource-type.yaml") for file in ROOT.glob("*.resource-type.yaml")}
    # Learned forecasts hold figures alone.
    assert files - {"c_flexcore_forecast"} == resources.RESOURCE_TYPES.keys() - {"postgresql"}
