"""Generations of a training and their checkpoints in a store: whole ones are found, others' are refused by name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from f.flexcore.lib.ray.remote.checkpoints import Generation, find_given, write_state
from f.flexcore.lib.ray.remote.recovery import make_fingerprint, note_failure
from f.flexcore.lib.ray.remote.shared_storage import Problem, RemoteStore
from f.flexcore.lib.ray.train_job import TrainRequest, describe_checkpoints
from tests.live.works import bucket_settings

Json = dict[str, Any]
ASKED: Json = {"algorithm": "xgboost", "parameters": {"eta": 0.1}, "source": "abc"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[Json]:
    with bucket_settings() as settings:
        yield {name.removeprefix("storage_"): value for name, value in settings.items()}


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, bucket: Json) -> RemoteStore:
    if request.param == "file":
        return RemoteStore({"uri": f"file://{tmp_path}/store"})
    keys = {"access_key": "live", "secret_key": "live-live"}
    return RemoteStore(bucket | keys | {"uri": f"{bucket['uri']}/{tmp_path.name}"})


def generation(store: RemoteStore, number: int) -> Generation:
    return Generation(store, f"{store.storage['uri']}/fc-1/{number}")


def checkpoint(store: RemoteStore, number: int, step: int, fingerprint: Json | None = None) -> str:
    """Its URI."""
    uri = generation(store, number).uri(f"ray_train/train/{step}")
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "model.ubj").write_bytes(b"a model of %d rounds" % step)
        write_state(Path(name), fingerprint or ASKED, step, {})
        store.upload(Path(name), uri)
    return uri


def write(store: RemoteStore, uri: str, content: bytes) -> None:
    with store.fs.open_output_stream(store.path(uri)) as stream:
        stream.write(content)


def test_the_first_generation_begins_at_the_beginning(store: RemoteStore) -> None:
    first = generation(store, 1)
    first.claim()
    assert first.find_checkpoint(ASKED) is None
    assert first.find_published(ASKED) is None


@pytest.mark.fault(23, "I2")
def test_a_generation_goes_on_from_the_last_whole_checkpoint_of_those_before_it(store: RemoteStore) -> None:
    checkpoint(store, 1, 50)
    checkpoint(store, 2, 100)
    torn = checkpoint(store, 2, 150)
    store.fs.delete_file(store.path(f"{torn}/checkpoint.json"))
    damaged = checkpoint(store, 2, 200)
    write(store, f"{damaged}/model.ubj", b"half")
    # Ray Train's own.
    write(store, generation(store, 2).uri("ray_train/train/.validate_storage_marker"), b"")
    half = checkpoint(store, 2, 250)
    write(store, f"{half}/checkpoint.json", b'{"step": 25')
    # Of the third nothing came so far, and the fourth is the one that asks.
    generation(store, 3).claim()
    found = generation(store, 4).find_checkpoint(ASKED)
    assert found is not None and (found.generation, found.step) == (2, 100)


def test_a_checkpoint_of_another_training_is_not_gone_on_from(
    store: RemoteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint(store, 1, 50, ASKED | {"algorithm": "lightgbm"})
    assert generation(store, 2).find_checkpoint(ASKED) is None
    assert 'algorithm is "lightgbm" there and "xgboost" here' in capsys.readouterr().out


@pytest.mark.fault(23, "I1")
def test_of_two_runs_of_one_generation_never_both_go_on(store: RemoteStore) -> None:
    generation(store, 1).claim()
    with pytest.raises(Problem, match="Another run of this job has begun already") as caught:
        generation(store, 1).claim()
    assert caught.value.flexcore["type"] == "Unavailable"


@pytest.mark.fault(23, "I1")
def test_a_generation_ends_itself_when_a_newer_one_has_begun(store: RemoteStore) -> None:
    old, new = generation(store, 1), generation(store, 2)
    old.claim()
    old.check_current()
    new.claim()
    new.check_current()
    with pytest.raises(Problem, match="Generation 2 has taken this training over from generation 1"):
        old.check_current()


def publish(store: RemoteStore, number: int) -> str:
    """The URI of its model."""
    uri = generation(store, number).uri("model")
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "model.ubj").write_bytes(b"a model")
        files = store.upload(Path(name), uri)
    generation(store, number).write(
        "", "trained.json", {"manifest": {"uri": uri, "files": files}, "fingerprint": ASKED}
    )
    return uri


@pytest.mark.fault(23, "I1")
def test_what_an_earlier_generation_has_published_is_the_result(store: RemoteStore) -> None:
    model = publish(store, 1)
    found = generation(store, 2).find_published(ASKED)
    assert found is not None and found["manifest"]["uri"] == generation(store, 1).uri("model")
    assert generation(store, 2).find_published(ASKED | {"task": "regression"}) is None
    write(store, f"{model}/model.ubj", b"half")
    assert generation(store, 2).find_published(ASKED) is None


@pytest.mark.parametrize("part", ["", "/1"])
def test_a_request_may_name_the_checkpoints_of_another_execution(store: RemoteStore, part: str) -> None:
    checkpoint(store, 1, 50)
    found = find_given(store, f"{store.storage['uri']}/fc-1{part}", ASKED)
    assert found.step == 50


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"algorithm": "lightgbm"}, 'algorithm is "xgboost" there and "lightgbm" here'),
        ({"parameters": {"eta": 0.3}}, 'parameters is {"eta": 0.1} there and {"eta": 0.3} here'),
        ({"source": "abd"}, 'source is "abc" there and "abd" here'),
    ],
)
def test_a_named_checkpoint_of_another_training_is_refused_by_what_differs(
    store: RemoteStore, change: Json, text: str
) -> None:
    checkpoint(store, 1, 50)
    with pytest.raises(Problem) as caught:
        find_given(store, f"{store.storage['uri']}/fc-1", ASKED | change)
    problem = caught.value.flexcore
    assert (problem["type"], problem["subject"]) == ("Conflict", "resume_from")
    assert text in problem["message"] and "train from the beginning" in problem["remedy"]


@pytest.mark.parametrize(
    ("uri", "kind", "text"),
    [
        ("file:///elsewhere/fc-1", "InvalidInput", "is not in the store"),
        ("{store}/fc-2", "NotFound", "No whole checkpoint is at"),
    ],
)
def test_checkpoints_that_are_not_there_are_named(store: RemoteStore, uri: str, kind: str, text: str) -> None:
    with pytest.raises(Problem, match=text) as caught:
        find_given(store, uri.format(store=store.storage["uri"]), ASKED)
    assert caught.value.flexcore["type"] == kind


def test_how_many_workers_train_it_does_not_make_another_training() -> None:
    files = [{"path": "a", "checksum": "1"}, {"path": "b", "checksum": "2"}]
    asked: Json = {"algorithm": "xgboost", "parameters": {"eta": None}, "source": {"uri": "file:///x", "files": files}}
    moved = {"uri": "s3://y", "files": files[::-1]}
    assert make_fingerprint(asked | {"num_workers": 1}) == make_fingerprint(
        asked | {"num_workers": 2, "max_failures": 9, "source": moved, "parameters": {}}
    )
    assert make_fingerprint(asked) != make_fingerprint(asked | {"target_column": "y"})


class Died(Exception):
    def __init__(self, node: str, preempted: bool) -> None:
        super().__init__("the actor died")
        self.node_id, self.preempted = node, preempted


def test_preemptions_are_counted_apart_from_failures(store: RemoteStore) -> None:
    first, second = generation(store, 1), generation(store, 2)
    note_failure(first, [Died("a", False), Died("b", False)])
    note_failure(first, [Died("a", False)])
    # Its fellow failed because of it, and the node was announced before it went.
    taken, other = "c" * 56, "d" * 56
    note_failure(second, [Died(taken, True), Died(other, False)])
    note_failure(second, [Died(taken, True)])
    assert (second.count_events("failure-"), second.count_events("preemption-")) == (2, 1)
    # What Ray says of a node that went before its time was over; and of one of which nothing was told.
    note_failure(second, [RuntimeError(f"A worker health check failed. node_id='{taken}'"), Died(other, False)])
    assert (second.count_events("failure-"), second.count_events("preemption-")) == (2, 1)
    note_failure(second, [RuntimeError(f"A worker health check failed. node_id='{other}'")])
    assert (second.count_events("failure-"), second.count_events("preemption-")) == (3, 1)


def test_a_problem_of_the_request_is_handed_from_the_workers_to_the_job(store: RemoteStore) -> None:
    first = generation(store, 1)
    assert first.read_problem() is None
    first.write_problem(Problem("InvalidInput", "No", "parameters.eta", "Correct it.", near=["lr"]))
    problem = first.read_problem()
    assert problem is not None
    assert problem.flexcore == Problem("InvalidInput", "No", "parameters.eta", "Correct it.", near=["lr"]).flexcore


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "A checkpoint is stored every 50 rounds"),
        ({"recovery": {"checkpoint_every": 0}}, "No checkpoints are stored (recovery.checkpoint_every is 0)"),
        (
            {"algorithm": "Ridge"},
            "Ridge knows no checkpoints: ",
        ),
    ],
)
def test_what_a_failure_costs_is_told_beforehand(fields: Json, text: str) -> None:
    assert text in describe_checkpoints(TrainRequest(target_column="y", **fields))
