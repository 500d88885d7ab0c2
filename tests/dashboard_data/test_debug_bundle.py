"""The debug bundle: complete, readable, and without the secrets that were planted wherever a run may have them."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.core import errors
from flexcore.commands import debug_bundle
from tests.dashboard_data.conftest import call, run_flow
from wmlocal.engine import Engine

# In a form's marked field, a request's field that is named so, a resource, a variable, the settings; one is printed by
# the step, another stands in its error. Below names that say nothing: in fields that a resource's type marks, of one
# that is named and of two that are filled in, in a resource of a type that is not ours, in a secret environment.
PLANTED = {
    "hook": "XyZsecret99",
    "other hook": "QrSsecret77",
    "project": "pj-5mNo1pQr",
    "foreign": "fg-7sTu3vWx",
    "environment": "en-9yZa2bCd",
    "marked": "mk-4uLs0pZq",
    "named": "nm-8tRw2xYv",
    "resource": "rs-1bNc7dKf",
    "variable": "vr-6jHg3mXs",
    "settings": "st-9zPe5qWa",
    "printed": "hunter2222",
}


@pytest.fixture(scope="module")
def run(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    store = engine.store
    store.set_resource("f/x/db", {"host": "h", "password": PLANTED["resource"]}, "postgresql", "")
    store.set_variable("f/x/token", PLANTED["variable"], True, "")
    store.set_variable("f/x/spare", "another", True, "")
    hook = "https://hooks.slack.com/services/T0AB/B0CD/"
    named = {"channel": "webhook", "webhook_url": hook + PLANTED["hook"]}
    store.set_resource("f/x/hook", named, "c_flexcore_notifications", "")
    store.set_resource("f/x/foreign", {"host": "db.example.com", "dsn": PLANTED["foreign"]}, "their_database", "")
    folder = tmp_path_factory.mktemp("store")
    settings = {"storage_uri": f"file://{folder}", "storage_secret_key": PLANTED["settings"]}
    store.set_resource("f/flexcore/settings", settings, "c_flexcore_settings", "")
    known = ("marked", "variable", "resource", "settings", "project", "foreign", "environment")
    note = f"connect password={PLANTED['named']} and {' '.join(PLANTED[name] for name in known)} at db.example.com"
    note += f" for {hook}{PLANTED['hook']} and /services/T0AB/B0CD/{PLANTED['other hook']}"
    arguments = {
        "note": note,
        "pin": PLANTED["marked"],
        "database": "$res:f/x/db",
        "api_token": "$var:f/x/token",
        "nested": [{"secret_key": PLANTED["settings"]}],
        "notify": {"channel": "webhook", "webhook_url": hook + PLANTED["other hook"]},
        "hook": "$res:f/x/hook",
        "foreign": "$res:f/x/foreign",
        "form": {
            "project": {"path": "/srv/project", "env": {"TAP_X_DSN": PLANTED["project"]}},
            "secrets": {"DSN": PLANTED["environment"], "OTHER": "$var:f/x/spare"},
        },
    }
    return run_flow(engine, "toy_fails", **arguments).id


def unpack(result: dict[str, Any]) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(result["base64"]))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture(scope="module")
def made(engine: Engine, run: str) -> dict[str, Any]:
    done = call(engine, "make_debug_bundle", execution=run)
    assert done.success, done.result
    result: dict[str, Any] = done.result
    return result


def test_it_has_all_that_explains_a_run(engine: Engine, run: str, made: dict[str, Any]) -> None:
    files = unpack(made)
    assert {"README.md", "execution.json", "versions.json", "settings.json", "runtimes.json"} <= set(files)
    shown = json.loads(files["execution.json"])
    assert shown["row"]["id"] == run and shown["error"]["category"] == "not_found"
    assert any("second" in name for name in files if name.startswith("logs/"))
    jobs = [json.loads(text) for name, text in files.items() if name.startswith("jobs/")]
    assert {job.get("flow_step_id") for job in jobs} >= {"first", "second"}
    assert "f_flexcore_templates_toy_fails" in " ".join(name for name in files if name.startswith("flows/"))
    versions = json.loads(files["versions.json"])
    assert versions["flexcore"] and versions["windmill"].startswith("flexcore engine") and versions["python"]
    assert {item["name"] for item in json.loads(files["runtimes.json"])} >= {"meltano", "store"}
    assert Path(made["uri"].removeprefix("file://")).read_bytes() == base64.b64decode(made["base64"])
    assert made["file_name"].endswith(f"{run}.zip")


@pytest.mark.parametrize("place", PLANTED)
def test_the_planted_secrets_are_found_nowhere_in_it(made: dict[str, Any], place: str) -> None:
    found = [name for name, text in unpack(made).items() if PLANTED[place] in text]
    assert not found
    assert "***" in unpack(made)["execution.json"]


def test_what_says_where_something_is_and_what_a_reference_names_stay(made: dict[str, Any]) -> None:
    shown = json.loads(unpack(made)["execution.json"])["request"]
    assert shown["foreign"] == "$res:f/x/foreign" and shown["form"]["secrets"]["OTHER"] == "$var:f/x/spare"
    assert "db.example.com" in shown["note"] and shown["form"]["project"]["path"] == "/srv/project"


def test_a_resource_that_a_step_is_given_as_it_is_is_masked_by_the_form_of_its_script(engine: Engine) -> None:
    files = unpack(call(engine, "make_debug_bundle", execution=run_flow(engine, "toy_holds").id).result)
    assert not [name for name, text in files.items() if "ck-2dEf5gHi" in text and not name.startswith("flows/")]
    assert any("***" in text for name, text in files.items() if name.startswith("logs/"))


@pytest.mark.parametrize("wrong", [{"storage_uri": "ftp://x"}, {"otlp_headers": "st-wrong1234"}])
def test_settings_that_are_wrong_are_a_notice_in_it_and_their_secrets_are_masked(
    engine: Engine, run: str, wrong: dict[str, Any]
) -> None:
    stored = engine.store.resource("f/flexcore/settings")
    assert stored
    value = {**stored["value"], **wrong, "secret": "tp-6eFg8hIj"}
    engine.store.set_resource("f/flexcore/settings", value, "c_flexcore_settings", "")
    told = run_flow(engine, "toy_fails", note=f"{PLANTED['settings']} tp-6eFg8hIj").id
    try:
        done = call(engine, "make_debug_bundle", execution=told)
    finally:
        engine.store.set_resource("f/flexcore/settings", stored["value"], "c_flexcore_settings", "")
    assert done.success and done.result["uri"] is None
    files = unpack(done.result)
    assert [note for note in json.loads(files["notices.json"]) if note["message"].startswith("The settings cannot be")]
    assert json.loads(files["settings.json"]) is None
    for text in files.values():
        assert PLANTED["settings"] not in text and "tp-6eFg8hIj" not in text and "st-wrong1234" not in text


def test_of_a_huge_log_the_end_stays_and_all_together_is_bounded() -> None:
    from f.flexcore.lib.dashboard.debug_bundle import DebugBundle

    bundle = DebugBundle.__new__(DebugBundle)
    bundle._left = 15
    assert bundle._cut("0123456789" * 3, 10, keep_end=True) == "… cut\n0123456789"
    assert bundle._cut("abcdefgh", 10) == "abcde\n… cut"
    assert bundle._cut("xyz", 10, keep_end=True) == "… cut\n"


def test_a_run_that_is_forgotten_has_none(engine: Engine) -> None:
    done = call(engine, "make_debug_bundle", execution="00000000-0000-4000-8000-000000000000")
    assert done.result["error"]["name"] == "NotFound"


def test_the_command_line_saves_it_as_a_file(
    engine: Engine, run: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEXCORE_HOME", str(engine.home))
    code = debug_bundle.debug_bundle_command(run, tmp_path, engine.url, "", bundle, as_json=False)
    assert code == 0
    (file,) = tmp_path.glob("flexcore-debug-*.zip")
    with zipfile.ZipFile(file) as archive:
        assert run in archive.read("execution.json").decode()
    with pytest.raises(errors.NotFound):
        debug_bundle.debug_bundle_command("ffffffff", tmp_path, engine.url, "", bundle, as_json=False)
