from __future__ import annotations

import base64
import json
import shlex
import time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from f.flexcore.lib.core.redaction import MASK, Redactor, find_secrets

SECRET = "s3cr3t/Pa ss"


BODY = ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj", "Zx9+q/1" + "k" * 57, "Ab3="]
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *BODY, "-----END PRIVATE KEY-----"])


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET, safe="").replace("%2F", "%2f"),
        SECRET.replace(" ", "+").replace("/", "%2F"),
        base64.b64encode(SECRET.encode()).decode(),
    ],
    ids=["plain", "url", "url, small letters", "form", "base64"],
)
def test_a_known_secret_is_masked_in_every_form_that_tools_print(form: str) -> None:
    assert Redactor([SECRET]).text(f"before {form} after") == f"before {MASK} after"


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("postgresql://joe:hunter2hunter2@db/x", "hunter2hunter2"),
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ('{"password": "hunter2"}', "hunter2"),
        ('{"password": "hun\\"ter2"}', "ter2"),
        ('{"event": "{\\"password\\": \\"hunter2\\"}"}', "hunter2"),
        ('{"password": "hunter2', "hunter2"),
        ("{'api_key': 'hunter2'}", "hunter2"),
        ("tap --db-password hunter2 --port 5432", "hunter2"),
        ("postgresql://joe:hunt@er2@db/x", "er2"),
        ("cloning https://ghp_0123456789abcdefghij@git.example.test/x", "ghp_0123456789"),
        ("client-key-data: " + base64.b64encode(PEM.encode()).decode(), base64.b64encode(PEM.encode()).decode()[20:]),
        ("TAP_POSTGRES_PASSWORD=hunter2 ok", "hunter2"),
        ("token=eyJhbGciOiJI.eyJzdWIiOiIx.abc", "eyJzdWIiOiIx"),
        ("id AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
        ("Authorization: Token hunter2", "hunter2"),
        ('{"Authorization": "ApiKey hunter2"}', "hunter2"),
        ("passphrase: hunter2", "hunter2"),
        ("TAP_CRM_PASS=hunter2", "hunter2"),
        ("AccountKey=hunter2==;x", "hunter2"),
        ("cloned with ghp_0123456789abcdefghij", "ghp_0123456789"),
        ("bot xoxb-0123456789-abcdef", "0123456789"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "abc"),
    ],
)
def test_unknown_secrets_are_masked_by_their_looks(text: str, gone: str) -> None:
    assert gone not in Redactor().text(text)


def test_ordinary_text_stays_as_it_is() -> None:
    for text in (
        "see http://example.com:8080/path?from=joe@example.com",
        "a bearer of bad news",
        "Done. PASS=5 WARN=0 ERROR=0 SKIP=0",
        "ssh://git@example.com/x",
    ):
        assert Redactor(["a", "of"]).text(text) == text
    text = "Loaded 200000 rows of flights into target-jsonl at https://example.com:8080/path in 12 s"
    assert Redactor(["dev", "1"]).text(text) == text


def test_nested_data_keeps_its_shape() -> None:
    data = {"user": "joe", "password": "hunter2", "list": [{"note": f"key {SECRET}"}], "rows": 3, "none": None}
    assert Redactor([SECRET]).data(data) == {
        "user": "joe",
        "password": MASK,
        "list": [{"note": f"key {MASK}"}],
        "rows": 3,
        "none": None,
    }


def test_secrets_are_found_below_secret_looking_keys_only() -> None:
    value = {"host": "db", "password": "a1", "nested": [{"api_key": "b2", "tokens": ["c3"]}], "empty_token": ""}
    assert set(find_secrets(value)) == {"a1", "b2", "c3"}


@settings(deadline=None)
@given(st.text(min_size=4), st.text(), st.text())
def test_no_secret_survives_whatever_surrounds_it(secret: str, before: str, after: str) -> None:
    redacted = Redactor([secret]).text(f"{before}\n{secret}\n{after}")
    assert secret in (before + after + MASK + "\n") or secret not in redacted.replace(MASK, "")


@pytest.mark.parametrize(
    ("secret", "text"),
    [
        (PEM, PEM),
        (PEM, PEM.replace("\n", "\r\n")),
        (PEM, json.dumps({"key": PEM})[9:-2]),
        (PEM, json.dumps(json.dumps(PEM))[3:-3]),
        (PEM, repr(PEM)[1:-1]),
        (PEM, base64.b64encode(PEM.encode()).decode()),
        ("quote'd & <b>", shlex.quote("quote'd & <b>")[1:-1]),
        ("quote'd & <b>", "quote&#x27;d &amp; &lt;b&gt;"),
        ("Gr\u00fc\u00dfe \u2603", json.dumps("Gr\u00fc\u00dfe \u2603")[1:-1]),
        ("postgresql://joe:p%40ss-word@db/x", "p@ss-word"),
        ("padded-value\n", "padded-value"),
        ("abc", "abc"),
        ("copper otter", b"copper otter".hex()),
        ("copper otter", b"copper otter".hex().upper()),
        ("Gr\u00fc\u00dfe \u2603", repr("Gr\u00fc\u00dfe \u2603".encode())[2:-1]),
        ("Gr\u00fc\u00dfe", "Gr\\u00FC\\u00DFe"),
        ("it's-mine", "it''s-mine"),
        ('say "cheese"', 'say ""cheese""'),
        ("abc/def/ghi", "abc\\/def\\/ghi"),
        (PEM, PEM.replace("\n", "")),
        (PEM, "".join(BODY)),
        ("host=db user=joe password=copper-otter dbname=x", "copper-otter"),
        ("Server=db;UID=joe;PWD='copper otter';", "copper otter"),
        ("AccountName=joe;AccountKey=Y29wcGVyLW90dGVy==;Suffix=net", "Y29wcGVyLW90dGVy=="),
        ("user: joe\nclient_secret: copper-otter\n", "copper-otter"),
        ('[{"password": "copper-otter"}]', "copper-otter"),
    ],
)
def test_a_known_secret_is_masked_as_tools_print_it(secret: str, text: str) -> None:
    assert Redactor([secret]).text(f"<{text}>") == f"<{MASK}>"


@pytest.mark.parametrize("line", [*BODY, "Ab3="])
def test_each_line_of_a_known_key_is_masked_where_it_stands_alone_the_short_last_one_too(line: str) -> None:
    assert Redactor([PEM]).text(f"tap-x: {line}") == f"tap-x: {MASK}"


@pytest.mark.parametrize("width", [64, 76])
def test_base64_of_a_key_is_masked_line_by_line_as_tools_break_it(width: int) -> None:
    encoded = base64.b64encode(PEM.encode()).decode()
    redactor = Redactor([PEM])
    for at in range(0, len(encoded), width):
        assert redactor.text(f"tap-x: {encoded[at : at + width]}") == f"tap-x: {MASK}"


@pytest.mark.parametrize("line", ['otter "two"', "one; two", "a b c d", "x9!?"])
def test_a_short_line_of_several_words_is_masked_where_it_stands_alone(line: str) -> None:
    assert Redactor([f"the first line of it is a long one\n{line}\n"]).text(f"tap-x: {line}") == f"tap-x: {MASK}"


def test_the_lines_of_a_document_stay_but_for_what_is_secret_in_them() -> None:
    document = '{\n "type": "x",\n "id": 7,\n - name: joe\n- b: c\n],\n}\n'
    for line in map(str.strip, document.splitlines()):
        assert Redactor([document]).text(line) == line


def test_a_short_line_of_a_secret_masks_no_part_of_a_word_and_a_single_letter_nothing() -> None:
    redactor = Redactor(["abc", "x", "12", "users:\n{\n}\npw\nshort\n"])
    assert redactor.text("abcd x {12} pw users: shorter") == "abcd x {12} pw users: shorter"
    assert redactor.text("abc, short.") == f"{MASK}, {MASK}."


def test_what_a_document_calls_a_secret_is_masked_without_the_document_around_it() -> None:
    document = json.dumps(
        {"type": "service_account", "private_key": PEM, "client": {"client_secret": "s3cr3t-value"}}, indent=1
    )
    redactor = Redactor([document])
    assert redactor.text("s3cr3t-value of service_account") == f"{MASK} of service_account"
    assert redactor.text(f"| {BODY[0]} |") == f"| {MASK} |"


def test_overlapping_secrets_leave_no_letter_of_either() -> None:
    assert Redactor(["abcdef", "defghi"]).text("abcdefghi") == MASK
    assert Redactor(["abab"]).text("ababab") == MASK


@pytest.mark.parametrize("before", ["", "U", "UV", "UVW"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_a_secret_that_is_encoded_together_with_a_user_name_is_masked_to_its_last_letter(
    before: str, after: str
) -> None:
    encoded = base64.b64encode(f"{before}:correct-horse-9{after}".encode()).decode()
    shown = Redactor(["correct-horse-9"]).text(encoded).replace(MASK, "")
    left = base64.b64decode(shown + "=" * (-len(shown) % 4)).decode(errors="replace") if shown else ""
    assert not set("corethsn-9") & set(left.removesuffix(after))


def test_a_secret_under_a_secret_looking_key_is_masked_in_lists_and_a_known_one_as_a_key() -> None:
    assert Redactor(["hunter22"]).data({"tokens": ["a", "b"], "hunter22": 1}) == {"tokens": [MASK, MASK], MASK: 1}


def test_a_key_over_several_lines_of_a_log_is_masked_to_its_end_whoever_prints_in_between() -> None:
    begin, *body, end = (f"tap-x: {line}" for line in PEM.splitlines())
    log = ["before", begin, "target-y: at work", *body, end, "after", BODY[0]]
    lines = Redactor().lines()
    masked = f"tap-x: {MASK}"
    assert [lines.line(line) for line in log] == [
        "before",
        masked,
        "target-y: at work",
        masked,
        masked,
        masked,
        end,
        "after",
        BODY[0],
    ]


def test_a_key_that_was_cut_masks_no_more_than_one_short_line_behind_it() -> None:
    lines = Redactor().lines()
    log = ["-----BEGIN RSA PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED", "", BODY[0], "Loading", "Loaded"]
    assert [lines.line(line) for line in log] == [MASK, "Proc-Type: 4,ENCRYPTED", "", MASK, MASK, "Loaded"]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_key_is_masked_however_the_lines_of_its_log_are_batched(size: int) -> None:
    body = ["a" * 64, "b" * 64, "c" * 12]
    log = ["before", "-----BEGIN RSA PRIVATE KEY-----", *body, "-----END RSA PRIVATE KEY-----", "behind", "password=x9"]
    lines = Redactor().lines()
    shown = [line for at in range(0, len(log), size) for line in lines.lines(log[at : at + size])]
    assert len(shown) == len(log) and (shown[0], *shown[6:]) == ("before", "behind", "password=***")
    assert not any(line in "\n".join(shown) for line in body)
    assert lines.lines([]) == []


PIECES = [
    "x",
    "a.",
    "a b ",
    "token",
    "token ",
    "token=",
    'token="',
    "token='",
    'token=\\"',
    "password_",
    "authorization",
    "authorization: a ",
    "ghp_",
    "_pass",
    "-token ",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN A PRIVATE KEY-----\n",
    "-eyJaaaaaaaa",
    "eyJaaaaaaaaa.",
    "://",
    "x://a:",
    "://aaaaaaaaaa",
    "://a:1/",
    "bearer ",
    "basic aaaaaaaa",
    "LS0tLS1CRUdJTi",
    "AKIA",
    "known-secret",
    "=",
    "@",
    " ",
]


@pytest.mark.parametrize("piece", PIECES, ids=repr)
def test_the_time_for_a_line_grows_with_its_length_only(piece: str) -> None:
    redactor = Redactor(["known-secret", "aaaaaaaaaaaa", "known"])

    def seconds(characters: int) -> float:
        began = time.process_time()
        redactor.text(piece * (characters // len(piece)))
        return time.process_time() - began

    seconds(1000)
    # Four times the length, four times the time; a quadratic pattern takes sixteen times as long, and minutes of it.
    assert seconds(200_000) < 0.05 + 10 * min(seconds(50_000) for _ in range(3))


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=6), min_size=1, max_size=6).map("".join))
@settings(deadline=None, max_examples=150)
def test_no_line_takes_long_whatever_is_repeated_in_it(piece: str) -> None:
    line = piece * (100_000 // len(piece)) if piece else ""
    began = time.process_time()
    Redactor(["known-secret"]).text(line)
    assert time.process_time() - began < 3


@settings(deadline=None)
@given(st.text(min_size=4).filter(str.strip), st.text(), st.sampled_from(["plain", "json", "url", "base64"]))
def test_no_form_of_a_secret_survives(secret: str, around: str, form: str) -> None:
    shown = {
        "plain": secret,
        "json": json.dumps(secret)[1:-1],
        "url": quote(secret, safe=""),
        "base64": base64.b64encode(secret.encode()).decode(),
    }[form]
    redacted = Redactor([secret]).text(f"{around}\n{shown}\n{around}")
    assert shown in around + MASK + "\n" or shown not in redacted.replace(MASK, "")


def test_a_secret_that_is_no_valid_text_is_masked_like_any_other() -> None:
    secret = "pa\ud800ss-word"
    assert Redactor([secret]).text(f"x {secret} y") == f"x {MASK} y"
