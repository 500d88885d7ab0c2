"""Who may reach the panel, and what the page's key opens: loopback names, the page's own origin, the page's scripts."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from starlette.datastructures import Headers

from flexcore.panel.engine import PanelEngine
from flexcore.panel.guard import Guard
from flexcore.panel.site import NO_APP, NO_PAGE, Page
from tests.wmlocal.engine.conftest import Writer

START = "/api/w/local/jobs/run/p/f/flexcore/dashboard/read_dashboard"


async def nothing(*_: object) -> None:
    raise AssertionError("not asked")


def ask(engine: PanelEngine, method: str, path: str, token: str = "", **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if token:
        given["Authorization"] = f"Bearer {token}"
    return httpx.request(method, engine.url + path, headers=given, json={} if method == "POST" else None, timeout=20)


def finished(engine: PanelEngine, job: str) -> httpx.Response:
    job = ask(engine, "GET", f"/api/w/local/jobs_u/get/{job}", engine.token).json()["id"]
    while not ask(engine, "GET", f"/api/w/local/jobs_u/completed/get_result_maybe/{job}", engine.token).json()[
        "completed"
    ]:
        pass
    return ask(engine, "GET", f"/api/w/local/jobs_u/completed/get_result_maybe/{job}", engine.key)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.8.0.1", "[::1]:8080", "localhost."]
)
def test_names_of_loopback_are_served(host: str) -> None:
    assert Guard(nothing).is_own_name(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "",
        "10.0.0.1",
        "[::1",
        "a@localhost@b",
        "0.0.0.0",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not Guard(nothing).is_own_name(host)


def test_a_name_that_was_given_is_served() -> None:
    assert Guard(nothing, ["Panel.example.com"]).is_own_name("panel.example.com:8081")


@pytest.mark.parametrize(
    ("method", "headers", "is_refused"),
    [
        ("POST", {"origin": "http://localhost:8080"}, False),
        ("POST", {}, False),
        ("POST", {"sec-fetch-site": "same-origin"}, False),
        ("POST", {"origin": "http://localhost:9090"}, True),
        ("POST", {"origin": "https://evil.example"}, True),
        ("POST", {"origin": "null"}, True),
        ("DELETE", {"sec-fetch-site": "cross-site"}, True),
        ("POST", {"sec-fetch-site": "same-site"}, True),
        ("GET", {"sec-fetch-site": "cross-site"}, False),
    ],
)
def test_only_the_page_itself_changes_something(method: str, headers: dict[str, str], is_refused: bool) -> None:
    refusal = Guard(nothing).refusal(method, "/api/x", Headers({"host": "localhost:8080", **headers}))
    assert (refusal is not None) is is_refused and (refusal is None or refusal.status_code == 403)


def test_a_name_that_was_rebound_to_loopback_gets_nothing_but_health(engine: PanelEngine) -> None:
    for path in ("/", "/api/version", START):
        assert ask(engine, "GET", path, Host="evil.example").status_code == 421
    # A kubelet asks by the pod's address.
    assert ask(engine, "GET", "/healthz", Host="10.1.2.3:8080").json()["status"] == "ok"


def test_every_answer_carries_a_policy_that_lets_no_foreign_code_run(engine: PanelEngine) -> None:
    for path in ("/", "/api/version", "/healthz", "/assets/none"):
        policy = ask(engine, "GET", path).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy


def test_the_pages_key_starts_the_pages_scripts_and_reads_their_jobs(engine: PanelEngine) -> None:
    started = ask(engine, "POST", START, engine.key)
    assert started.status_code == 201
    assert finished(engine, started.text).json()["completed"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/w/local/jobs/run/p/f/sales/erase"),
        ("POST", "/api/w/local/jobs/run/preview"),
        ("POST", "/api/w/local/jobs/run/p/f/flexcore/dashboard/../../sales/erase"),
        ("GET", "/api/w/local/variables/list"),
        ("GET", "/api/w/local/resources/list"),
        ("GET", "/api/w/local/jobs_u/get/00000000-0000-0000-0000-000000000000"),
        ("DELETE", "/api/w/local/resources/delete/f/x/y"),
    ],
)
def test_the_pages_key_opens_nothing_else(engine: PanelEngine, method: str, path: str) -> None:
    assert ask(engine, method, path, engine.key).status_code == 403


@pytest.mark.parametrize("job", ["", "dashboard", "job", "dashboard\n", "00000000-0000-0000-0000-000000000000"])
def test_the_pages_key_is_no_token_of_a_job(engine: PanelEngine, job: str) -> None:
    path = f"/api/w/local/resources/list?token={quote(f'{job}.{engine.key}')}"
    assert httpx.get(engine.url + path, timeout=20).status_code == 401


def test_an_approval_link_opens_nothing_but_its_approval(engine: PanelEngine) -> None:
    job = ask(engine, "POST", "/api/w/local/jobs/run/p/f/sales/erase", engine.token).text
    links = ask(engine, "GET", f"/api/w/local/jobs/resume_urls/{job}/0", engine.token).json()
    signature = links["resume"].rpartition("/")[2]
    for text in (job, f"resume {job} 0 ", f"{job} 0 ", f"resume\n{job} 0 "):
        path = f"/api/w/local/resources/list?token={quote(f'{text}.{signature}')}"
        assert httpx.get(engine.url + path, timeout=20).status_code == 401


def test_jobs_of_others_are_not_shown_to_the_page(engine: PanelEngine) -> None:
    job = ask(engine, "POST", "/api/w/local/jobs/run/p/f/sales/erase", engine.token).text
    assert ask(engine, "GET", f"/api/w/local/jobs_u/get/{job}", engine.key).status_code == 403
    assert finished(engine, job).status_code == 403


def test_without_a_key_and_with_a_wrong_one_there_is_no_api(engine: PanelEngine) -> None:
    assert ask(engine, "POST", START).status_code == 401
    assert ask(engine, "POST", START, "0" * 64).status_code == 401


def test_the_engines_own_token_still_opens_the_whole_api(engine: PanelEngine) -> None:
    assert ask(engine, "GET", "/api/w/local/resources/list", engine.token).status_code == 200
    assert ask(engine, "GET", "/api/version").text.startswith("flexcore engine")


def test_readiness_says_what_is_missing(engine: PanelEngine, tmp_path: Path) -> None:
    assert (ask(engine, "GET", "/readyz").status_code, ask(engine, "GET", "/readyz").json()["ready"]) == (200, True)
    engine._reasons = lambda: ["The Ray head does not run"]
    answer = ask(engine, "GET", "/readyz")
    assert answer.status_code == 503 and answer.json() == {"ready": False, "reasons": ["The Ray head does not run"]}


def test_without_a_built_page_or_an_app_the_panel_says_so(write: Writer, home: Path, built: Path) -> None:
    assert Page("w", "u", {"a": "f/a"}, "", home).problem() == NO_PAGE
    assert Page("w", "u", {}, "", built).problem() == NO_APP
    with PanelEngine(write.root, home, folder=built) as engine:
        engine.serve()
        answer = ask(engine, "GET", "/")
        assert (answer.status_code, answer.text) == (503, NO_APP)
        assert ask(engine, "GET", "/healthz").status_code == 200


def test_what_is_told_to_the_page_is_never_markup(built: Path) -> None:
    hostile = "</meta><script>alert(1)</script>\"'&"
    shown = Page(hostile, hostile, {"a": hostile}, hostile, built).render()
    assert "<script>alert" not in shown and shown.count("<script") == 1
