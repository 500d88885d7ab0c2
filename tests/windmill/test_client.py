"""The one client of Windmill: what it asks, and what each answer means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from f.flexcore.lib.core.errors import (
    FlexcoreError,
    Forbidden,
    InvalidInput,
    MissingSetting,
    NotFound,
    Unavailable,
    Unreachable,
)
from f.flexcore.lib.windmill.client import Client, parse_job_id
from tests.kubernetes.test_client import authority, secured  # noqa: F401
from tests.operations.fake_windmill import FakeWindmill


@pytest.fixture
def windmill() -> Iterator[FakeWindmill]:
    with FakeWindmill() as running:
        yield running


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidInput),
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, InvalidInput),
        (500, Unavailable),
        (502, Unavailable),
    ],
)
def test_each_refusal_has_its_type_and_repeats_nothing_of_the_answer(
    windmill: FakeWindmill, status: int, kind: type[FlexcoreError]
) -> None:
    windmill.route = lambda path, query: (status, "the password is hunter2")
    for call in (lambda: windmill.client().get("x/y"), lambda: windmill.client().post("x/y", {"a": "sesame"})):
        with pytest.raises(kind, match="x/y") as caught:
            call()
        assert type(caught.value) is kind
        assert "hunter2" not in str(caught.value) and "sesame" not in str(caught.value)


def test_an_answer_that_is_not_json_is_not_windmills(windmill: FakeWindmill) -> None:
    windmill.route = lambda path, query: (200, "<html>Sign in</html>")
    with pytest.raises(Unreachable, match="x/y is not JSON"):
        windmill.client().get("x/y")


def test_no_answer_is_unreachable_and_the_token_is_in_no_error() -> None:
    with pytest.raises(Unreachable, match="does not answer") as caught:
        Client("sesame", workspace="test", url="http://127.0.0.1:1").get("x")
    assert "sesame" not in str(caught.value)


def test_a_certificate_that_is_not_trusted_says_what_to_do(secured: str) -> None:  # noqa: F811
    with pytest.raises(Unreachable, match="does not know who signed"):
        Client("token", workspace="test", url=secured).get("x")


@pytest.mark.parametrize("name", ["WM_WORKSPACE", "WM_TOKEN", "BASE_INTERNAL_URL"])
def test_outside_a_job_the_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable in ("WM_WORKSPACE", "WM_TOKEN", "BASE_INTERNAL_URL"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.delenv(name)
    with pytest.raises(MissingSetting, match=f"{name} is not set"):
        Client()


def test_the_token_is_that_of_the_job_unless_another_is_given_and_an_empty_one_is_not_replaced(
    windmill: FakeWindmill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WM_TOKEN", "of the job")
    windmill.route = lambda path, query: (200, {})
    for given in ((), ("of the caller",), ("",)):
        Client(*given, workspace="test", url=windmill.address).get("x")
    assert windmill.authorizations == ["Bearer of the job", "Bearer of the caller", "Bearer "]


def test_a_resource_is_read_by_its_path_or_reference_and_a_missing_one_is_not_found(windmill: FakeWindmill) -> None:
    windmill.resources = {"f/x/ray": {"address": "http://ray"}}
    client = windmill.client()
    assert client.resource("f/x/ray") == client.resource("$res:f/x/ray") == {"address": "http://ray"}
    assert client.find_resource("f/x/none") is None
    with pytest.raises(NotFound, match="resource f/x/none does not exist") as caught:
        client.resource("$res:f/x/none")
    assert caught.value.subject == "f/x/none"
    windmill.broken = 403
    with pytest.raises(Forbidden):
        client.find_resource("f/x/none")


@pytest.mark.parametrize(("limit", "pages"), [(1, 1), (100, 1), (101, 2), (250, 3), (1000, 3)])
def test_finished_jobs_are_read_no_further_than_to_the_limit(windmill: FakeWindmill, limit: int, pages: int) -> None:
    def answer(path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        page, size = int(query["page"][0]), int(query["per_page"][0])
        return 200, [{"id": str(number)} for number in range((page - 1) * size, min(page * size, 250))]

    windmill.route = answer
    jobs = list(windmill.client().finished_jobs(limit, label="x"))
    assert [job["id"] for job in jobs] == [str(number) for number in range(min(limit, 250))]
    assert len(windmill.requests) == pages


def test_of_several_jobs_those_that_cannot_be_read_are_left_out(windmill: FakeWindmill) -> None:
    windmill.completed |= {"a", "c"}
    assert sorted(windmill.client().jobs(["a", "b", "c", "a"])) == ["a", "c"]
    assert len(windmill.requests) == 3


def test_a_job_that_windmill_cannot_answer_for_is_not_taken_for_one_that_it_has_not(windmill: FakeWindmill) -> None:
    answers = {"a": 200, "b": 404, "c": 403, "d": 500}
    windmill.route = lambda path, query: (answers[name := path.rsplit("/", 1)[-1]], {"id": name})
    jobs, absent = windmill.client().known_jobs(answers)
    assert list(jobs) == ["a"] and absent == {"b", "c"}


def test_the_id_of_a_run_is_brought_to_its_usual_form() -> None:
    assert parse_job_id(" 0D1F4B9E-8A52-4A56-9B1C-6C1F2E7D3A40 ", "id") == "0d1f4b9e-8a52-4a56-9b1c-6c1f2e7d3a40"
    for text in ("", "last", None, 7):
        with pytest.raises(InvalidInput, match="is not the id of a run"):
            parse_job_id(text, "id")  # type: ignore[arg-type]
