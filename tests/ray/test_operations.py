"""What is wrong with a request is said before anything runs, by the field's name in the form."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from f.flexcore.lib.core.errors import EmptyData, FlexcoreError, InvalidInput, ManifestMismatch
from f.flexcore.lib.core.operation import Operation, resolve
from f.flexcore.lib.core.resources import RayCluster, Settings, dump_public, secret_values
from f.flexcore.lib.ray.cluster_lifecycle import DESCRIBE_CLUSTER, ENSURE_CLUSTER, RELEASE_CLUSTER, SCALE_CLUSTER
from f.flexcore.lib.ray.copy_job import COPY_TABLE
from f.flexcore.lib.ray.job_inputs import is_this_machine
from f.flexcore.lib.ray.loop_job import TRAINING_LOOP
from f.flexcore.lib.ray.predict_job import PREDICT
from f.flexcore.lib.ray.program_job import RUN_PROGRAM
from f.flexcore.lib.ray.search_job import SEARCH
from f.flexcore.lib.ray.serve_job import DEPLOY_MODEL
from f.flexcore.lib.ray.service_deployment import DEPLOY_SERVICE
from f.flexcore.lib.ray.train_job import TRAIN
from f.flexcore.lib.runtimes import RUNTIMES
from tests.operations.fake_windmill import FakeWindmill
from tests.ray.models import stored_model

Json = dict[str, Any]
OPERATIONS = {
    item.name: item for item in (RUN_PROGRAM, TRAIN, SEARCH, TRAINING_LOOP, PREDICT, DEPLOY_MODEL, COPY_TABLE)
}
CLUSTER_OPERATIONS = (ENSURE_CLUSTER, SCALE_CLUSTER, RELEASE_CLUSTER, DESCRIBE_CLUSTER)
REQUIRED: dict[str, Json] = {"program": {"program": "result = 1"}, "train": {"target_column": "size"}}
REQUIRED["search"] = REQUIRED["train"]
REQUIRED["training_loop"] = {"program": "def train_loop(config, loop):\n    pass\n"}
REQUIRED["copy_table"] = {"database": {"host": "db", "dbname": "sales"}, "table": "orders"}
REMOTE = RayCluster(address="https://ray.example.com")
LOCAL_S3 = Settings(storage_uri="s3://bucket", storage_endpoint_url="http://localhost:9000")


def check(name: str, fields: Json, service: RayCluster | None = None, settings: Settings | None = None) -> None:
    chosen: Operation[Any, Any] = OPERATIONS[name]
    chosen.check(chosen.parse({**REQUIRED.get(name, {}), **fields}), service, settings or Settings())


def test_the_registry_names_these_operations() -> None:
    # Those of a cluster and of a RayService take what a job does not; their own tests check their requests.
    others = {item.name: item for item in (*CLUSTER_OPERATIONS, DEPLOY_SERVICE)}
    assert {name: resolve(address) for name, address in RUNTIMES["ray"].operations.items()} == OPERATIONS | others


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_field_of_a_form_says_what_it_is_for(name: str) -> None:
    fields = OPERATIONS[name].request.model_fields
    assert [field for field, item in fields.items() if not item.description] in ([], ["more"])


@pytest.mark.parametrize(
    ("name", "fields", "subject"),
    [
        ("program", {"program": ""}, "program"),
        ("program", {"program": "def f(:"}, "program"),
        ("program", {"packages": ["--index-url=x"]}, "packages"),
        ("program", {"runtime_env": {"working_dir": "."}}, "runtime_env"),
        ("program", {"secrets": {"not a name": "x"}}, "secrets"),
        ("program", {"num_cpus": float("nan")}, "num_cpus"),
        ("program", {"wait": "later"}, "wait"),
        ("program", {"programm": "pass"}, "programm"),
        ("train", {"target_column": ""}, "target_column"),
        ("train", {"packages": ["pandas", "-r x.txt"]}, "packages"),
        ("train", {"model_name": "My Model!"}, "model_name"),
        ("train", {"test_fraction": 1}, "test_fraction"),
        ("train", {"task": "clustering"}, "task"),
        ("search", {"task": "ranking"}, "task"),
        ("train", {"task": "ranking"}, "group_column"),
        ("train", {"task": "ranking", "group_column": "q", "algorithm": "Ridge"}, "algorithm"),
        ("train", {"task": "ranking", "group_column": "size"}, "group_column"),
        ("train", {"group_column": "q"}, "group_column"),
        ("train", {"class_weights": ["balanced", "a=1"]}, "class_weights"),
        ("train", {"class_weights": ["a"]}, "class_weights"),
        ("train", {"class_weights": ["a=0"]}, "class_weights"),
        ("train", {"class_weights": ["a=1", "a=2"]}, "class_weights"),
        ("train", {"memory_gib_per_worker": -1}, "memory_gib_per_worker"),
        ("train", {"cpus_per_worker": 0}, "cpus_per_worker"),
        ("train", {"expected_s": -1}, "expected_s"),
        ("train", {"source": {"kind": "model"}}, "source"),
        ("search", {"trials": 201}, "trials"),
        ("search", {"num_workers": 2}, "num_workers"),
        ("train", {"early_stopping_rounds": -1}, "early_stopping_rounds"),
        ("train", {"recovery": {"resume_from": "fc-1/1"}}, "recovery.resume_from"),
        ("training_loop", {"program": "x = 1"}, "program"),
        ("training_loop", {"program": "def train_loop(config): pass"}, "program"),
        ("training_loop", {"program": "def train_loop(config, loop) pass"}, "program"),
        ("training_loop", {"stop_mode": "least"}, "stop_mode"),
        ("predict", {"format": "xml"}, "format"),
        ("predict", {"model": {"kind": "data"}}, "model"),
        ("deploy_model", {"name": "My Model!"}, "name"),
        ("deploy_model", {"replicas": 0}, "replicas"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(name: str, fields: Json, subject: str) -> None:
    with pytest.raises((InvalidInput, ManifestMismatch)) as caught:
        check(name, fields)
    assert caught.value.subject == subject


@pytest.mark.parametrize("name", ["train", "search", "predict"])
def test_the_data_is_looked_at_when_it_is_known(name: str, extracted: Callable[..., Json]) -> None:
    source = extracted([{"size": 1, "kind": "lily"}], {"size": "integer", "kind": "string"})
    check(name, {"source": source})
    for change, error, subject in (
        ({"source": {**source, "checksum": "sha256:" + "0" * 64}}, ManifestMismatch, source["uri"]),
        ({"source": source, "stream": "orders"}, InvalidInput, "stream"),
        ({"source": {**source, "streams": [{**source["streams"][0], "rows": 0}]}}, EmptyData, "source"),
    ):
        with pytest.raises(error) as caught:
            check(name, change)
        assert caught.value.subject == subject


@pytest.mark.parametrize("name", ["train", "search"])
@pytest.mark.parametrize("fields", [{"target_column": "sise"}, {"features": ["sise"]}])
def test_a_column_that_the_data_does_not_have_is_refused_with_the_one_that_was_meant(
    name: str, fields: Json, extracted: Callable[..., Json]
) -> None:
    source = extracted([{"size": 1, "kind": "lily"}], {"size": "integer", "kind": "string"})
    with pytest.raises(InvalidInput, match="Did you mean 'size'") as caught:
        check(name, {"target_column": "kind", "source": source, **fields})
    assert caught.value.subject == next(iter(fields))


@pytest.mark.parametrize("name", ["predict", "deploy_model"])
def test_a_model_that_ray_cannot_load_is_refused(name: str, tmp_path: Any) -> None:
    model = stored_model(tmp_path / "model", "flowers", "1").plain()
    check(name, {"model": model})
    with pytest.raises(InvalidInput, match="format 'onnx'") as caught:
        check(name, {"model": {**model, "format": "onnx"}})
    assert caught.value.subject == "model.format"
    with pytest.raises(ManifestMismatch):
        check(name, {"model": {**model, "checksum": "sha256:" + "0" * 64}})


@pytest.mark.parametrize("name", ["train", "search", "predict", "deploy_model"])
def test_a_store_at_this_machines_own_address_is_refused_with_a_cluster_elsewhere(name: str) -> None:
    with pytest.raises(
        InvalidInput, match=r"http://localhost:9000 .* https://ray\.example\.com cannot reach"
    ) as caught:
        check(name, {}, REMOTE, LOCAL_S3)
    assert caught.value.subject == "settings.storage_endpoint_url"


@pytest.mark.parametrize("name", ["train", "search", "training_loop", "predict", "deploy_model", "copy_table"])
def test_pods_do_not_reach_a_store_at_this_machines_own_address_whatever_their_nodes_is(name: str) -> None:
    pods = RayCluster(kubernetes_cluster="f/x/k8s", namespace="work", name="ml")
    with pytest.raises(InvalidInput, match=r"http://localhost:9000 .* the pods of ml cannot reach") as caught:
        check(name, {}, pods, LOCAL_S3)
    assert caught.value.subject == "settings.storage_endpoint_url"


def test_pods_do_not_reach_a_database_at_this_machines_own_address() -> None:
    pods = RayCluster(kubernetes_cluster="f/x/k8s", namespace="work", name="ml")
    with pytest.raises(InvalidInput, match=r"database.host: localhost .* the pods of ml cannot reach") as caught:
        check("copy_table", {"database": {"host": "localhost", "dbname": "sales"}}, pods)
    assert caught.value.subject == "database.host"


@pytest.mark.parametrize("ask", ["plan", "execute"])
@pytest.mark.parametrize(
    ("name", "fields"),
    [("train", {}), ("search", {}), ("training_loop", {}), ("predict", {}), ("deploy_model", {}), ("copy_table", {})],
)
def test_a_cluster_that_a_resource_names_is_looked_at_as_soon_as_the_resource_was_read(
    name: str, fields: Json, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeWindmill() as windmill:
        windmill.resources = {"f/x/ray": {"address": REMOTE.address}}
        for variable, value in {"BASE_INTERNAL_URL": windmill.address, "WM_TOKEN": "t", "WM_WORKSPACE": "test"}.items():
            monkeypatch.setenv(variable, value)
        operation: Operation[Any, Any] = OPERATIONS[name]
        arguments = {**REQUIRED.get(name, {}), **fields, "cluster": {"resource": "f/x/ray"}}
        invocation = operation.invoke({**arguments, "settings": LOCAL_S3.model_dump()})
        with pytest.raises(InvalidInput, match=r"https://ray\.example\.com cannot reach") as caught:
            getattr(operation, ask)(invocation)
    assert caught.value.subject == "settings.storage_endpoint_url"


@pytest.mark.parametrize(
    ("service", "settings"),
    [
        (None, LOCAL_S3),
        (RayCluster(resource="f/x/ray"), LOCAL_S3),
        (RayCluster(local_head="one"), LOCAL_S3),
        (RayCluster(), LOCAL_S3),
        (RayCluster(address=f"http://{socket.gethostname()}:8265"), LOCAL_S3),
        (REMOTE, Settings(storage_uri="s3://bucket", storage_endpoint_url="https://s3.example.com")),
        (REMOTE, Settings(storage_uri="s3://bucket")),
        (REMOTE, Settings(storage_uri="file:///mnt/shared")),
        (REMOTE, Settings()),
    ],
)
def test_a_store_that_the_cluster_may_reach_is_left_to_the_job(service: RayCluster | None, settings: Settings) -> None:
    for name in ("train", "search", "predict", "deploy_model"):
        check(name, {}, service, settings)


@pytest.mark.parametrize(
    ("address", "is_here"),
    [
        ("http://127.0.0.1:8265", True),
        ("http://[::1]:8265", True),
        ("http://127.7.7.7:8265", True),
        ("http://192.0.2.1:8265", False),
        ("http://[2001:db8::1]:8265", False),
        ("https://ray.example.com", False),
    ],
)
def test_an_address_is_known_to_be_this_machines_without_looking_up_a_name(
    address: str, is_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(*_: object) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert is_this_machine(address) is is_here


@pytest.mark.parametrize(
    ("name", "fields", "subject"),
    [("train", {}, "source"), ("search", {}, "source"), ("predict", {}, "model"), ("deploy_model", {}, "model")],
)
def test_what_an_earlier_stage_hands_on_may_be_missing_in_a_check_and_not_in_a_run(
    name: str, fields: Json, subject: str
) -> None:
    arguments = {**REQUIRED.get(name, {}), **fields, "cluster": {"address": "http://127.0.0.1:9"}}
    check(name, fields)
    with pytest.raises(InvalidInput, match=f"{subject} is missing") as caught:
        OPERATIONS[name].run(arguments)
    assert caught.value.subject == subject


def test_what_is_secret_in_a_program_is_marked() -> None:
    request = RUN_PROGRAM.parse(
        {
            "program": "pass",
            "parameters": {"db_password": "hunter2", "n": 1},
            "secrets": {"KEY": "sesame"},
            "runtime_env": {"env_vars": {"API_TOKEN": "open-1234"}},
        }
    )
    assert set(secret_values(request)) == {"hunter2", "sesame", "open-1234"}
    assert not {"parameters", "secrets", "runtime_env"} & dump_public(request).keys()


def test_a_step_takes_no_word_for_its_own_wait_but_block_and_defer() -> None:
    with pytest.raises(FlexcoreError, match="auto") as caught:
        RUN_PROGRAM.run({"program": "pass", "wait": "auto", "cluster": {"address": "http://127.0.0.1:9"}})
    assert caught.value.subject == "wait"
