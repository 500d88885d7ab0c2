from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from f.flexcore.core.redaction import MASK, Redactor, secrets_of

SECRET = "s3cr3t/Pa ss"


@pytest.mark.parametrize(
    "form", [SECRET, quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode()], ids=["plain", "url", "base64"]
)
def test_a_known_secret_is_masked_in_every_form_that_tools_print(form: str) -> None:
    assert Redactor([SECRET]).text(f"before {form} after") == f"before {MASK} after"


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("postgresql://joe:hunter2hunter2@db/x", "hunter2hunter2"),
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ('{"password": "hunter2"}', "hunter2"),
        ("TAP_POSTGRES_PASSWORD=hunter2 ok", "hunter2"),
        ("token=eyJhbGciOiJI.eyJzdWIiOiIx.abc", "eyJzdWIiOiIx"),
        ("id AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "abc"),
    ],
)
def test_unknown_secrets_are_masked_by_their_looks(text: str, gone: str) -> None:
    assert gone not in Redactor().text(text)


def test_ordinary_text_stays_as_it_is() -> None:
    text = "Loaded 200000 rows of flights into target-jsonl at https://example.com:8080/path in 12 s"
    assert Redactor(["dev", "1"]).text(text) == text


def test_nested_data_keeps_its_shape() -> None:
    data = {"user": "joe", "password": "hunter2", "list": [{"note": f"key {SECRET}"}], "rows": 3, "none": None}
    assert Redactor([SECRET]).data(data) == {
        "user": "joe", "password": MASK, "list": [{"note": f"key {MASK}"}], "rows": 3, "none": None,
    }  # fmt: skip


def test_secrets_are_found_below_secret_looking_keys_only() -> None:
    value = {"host": "db", "password": "a1", "nested": [{"api_key": "b2", "tokens": ["c3"]}], "empty_token": ""}
    assert set(secrets_of(value)) == {"a1", "b2", "c3"}


@given(st.text(min_size=4), st.text(), st.text())
def test_no_secret_survives_whatever_surrounds_it(secret: str, before: str, after: str) -> None:
    redacted = Redactor([secret]).text(f"{before}\n{secret}\n{after}")
    assert secret in (before + after + MASK + "\n") or secret not in redacted.replace(MASK, "")
