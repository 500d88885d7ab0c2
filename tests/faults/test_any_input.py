"""No argument of a step, however wrong, ends in an error that is none of ours; and every contract takes or refuses.

Every script with a `main` is called with what its form's schema allows and with garbage, all addresses leading to a
server that refuses everybody. What a form allows and this server refuses is a typed error too.
"""

from __future__ import annotations

import importlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from f.flexcore.lib.core import contracts, resources
from f.flexcore.lib.core.errors import FlexcoreError, validate

ROOT = Path(__file__).parent.parent.parent
# What is not called, and why.
LEFT_OUT = {
    "f/flexcore/operations/check_runtimes": "looks at this very machine, whatever it is given",
}
STEPS = sorted(
    str(path.relative_to(ROOT).with_suffix(""))
    for path in (ROOT / "f").rglob("*.py")
    if "\ndef main(" in path.read_text()
)
CALLED = [step for step in STEPS if step not in LEFT_OUT]
BOUNDED = settings(
    max_examples=25, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)

scalars = st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=12))
garbage = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(("path", "uri", "kind", "x", "")), inner, max_size=3),
    ),
    max_leaves=6,
)


class Refusing(BaseHTTPRequestHandler):
    """Refuses everybody: no step gets any further, and none has to wait."""

    def answer(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def worker(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "FLEXCORE_HOME": str(tmp_path / "home"),
        "BASE_INTERNAL_URL": address,
        "WM_BASE_URL": address,
        "WM_TOKEN": "t",
        "WM_WORKSPACE": "test",
        "WM_JOB_ID": "job",
    }.items():
        monkeypatch.setenv(name, value)


def allowed(form: dict[str, Any], address: str) -> st.SearchStrategy[Any]:
    """Values that a property of a form's schema allows; resources lead to the server that refuses."""
    by_resource = {
        "resource-c_ray_cluster": {"address": address},
        "resource-c_kubernetes_cluster": {"mode": "token", "server": address, "token": "token-1234"},
        "resource-c_meltano_project": {"path": "nowhere"},
    }
    if form.get("format") in by_resource:
        return st.just(by_resource[form["format"]])
    if "enum" in form:
        return st.sampled_from(form["enum"])
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text(max_size=8),
        "integer": st.integers(-2, 100),
        "number": st.floats(-2, 100),
        "boolean": st.booleans(),
        "array": st.lists(st.text(max_size=5), max_size=2),
        "object": st.just({}),
    }
    return kinds.get(str(form.get("type")), scalars)


@pytest.mark.slow
@pytest.mark.parametrize("step", CALLED)
def test_no_arguments_of_a_step_end_in_an_untyped_error(step: str, address: str) -> None:
    schema = yaml.safe_load((ROOT / f"{step}.script.yaml").read_text())["schema"]
    main = importlib.import_module(step.replace("/", ".")).main
    forms = schema["properties"]

    @BOUNDED
    @given(st.data())
    def call(data: st.DataObject) -> None:
        given_names = [name for name in forms if name in schema["required"] or data.draw(st.booleans(), name)]
        wrong = data.draw(st.sets(st.sampled_from(given_names or ["-"]), max_size=2), "wrong")
        arguments = {
            name: data.draw(garbage if name in wrong else allowed(forms[name], address), name) for name in given_names
        }
        try:
            result = main(**arguments)
        except FlexcoreError as error:
            json.dumps(vars(error))
        else:
            json.dumps(result)

    call()


MODELS = [
    item
    for module in (contracts, resources)
    for item in vars(module).values()
    if isinstance(item, type) and issubclass(item, BaseModel) and item.__module__ == module.__name__
]


@pytest.mark.parametrize("model", MODELS, ids=[item.__name__ for item in MODELS])
def test_a_contract_takes_a_value_or_names_what_is_wrong_with_it(model: type[BaseModel]) -> None:
    fields = list(model.model_fields) or ["x"]

    @BOUNDED
    @given(st.one_of(garbage, st.dictionaries(st.sampled_from([*fields, "other"]), garbage, max_size=6)))
    def take(value: Any) -> None:
        try:
            taken = validate(model, value, "request")
        except FlexcoreError as error:
            assert error.subject.startswith("request")
        else:
            assert validate(model, json.loads(taken.model_dump_json()), "request") == taken

    take()


def test_every_step_is_called_or_left_out_for_a_reason() -> None:
    assert set(LEFT_OUT) <= set(STEPS) and len(CALLED) + len(LEFT_OUT) == len(STEPS)
