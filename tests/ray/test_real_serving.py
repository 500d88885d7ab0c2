"""Models on a real Ray Serve: side by side, updated while they are asked, and released."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from f.flexcore.lib.core.contracts import ModelManifest
from f.flexcore.lib.core.errors import DataError, InvalidInput, ManifestMismatch
from f.flexcore.lib.core.inference import build_smoke_request, infer_url, parse_predictions
from f.flexcore.lib.ray import deployed_models
from f.flexcore.lib.storage.object_store import local_path
from f.flexcore.ray import set_traffic, undeploy_model
from f.flexcore.ray.deploy_model import main
from flexcore.ray_head import RayHead
from tests.ray.models import stored_model

pytestmark = pytest.mark.slow
SMALL: dict[str, Any] = {"cpus": 0.1}
# Between requests of a caller: one that never pauses takes the cores that the new version needs to start.
PAUSE_S = 0.02


@pytest.fixture(scope="module", autouse=True)
def end_serve(head: RayHead) -> Iterator[None]:
    """What is left served would take a sixth of a core from the tests that come after."""
    yield
    httpx.delete(f"{head.address}/api/serve/applications/", headers=head.headers, timeout=60).raise_for_status()


def ask(url: str, model: ModelManifest) -> list[float]:
    answer = httpx.post(infer_url(url, model.name), json=build_smoke_request(model), timeout=30)
    assert answer.status_code == 200, answer.text
    return parse_predictions(answer.json(), len(model.example))


def test_models_live_side_by_side_are_updated_without_a_failed_request_and_released(
    cluster: dict[str, Any], tmp_path: Path
) -> None:
    daisy, tulip = (stored_model(tmp_path / name, name, "1") for name in ("daisy", "tulip"))
    first = main(cluster, daisy.plain(), **SMALL)
    other = main(cluster, tulip.plain(), "side", **SMALL)
    url, other_url = first["output"]["url"], other["output"]["url"]
    assert url.endswith("/daisy") and other_url.endswith("/side")
    assert first["data"]["smoke"]["rows"] == len(daisy.example)
    assert first["data"]["smoke"]["latency_ms"] > 0
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    assert httpx.get(f"{other_url}/v2/models/tulip/ready").status_code == 200
    assert httpx.get(f"{url}/v2/models/tulip/ready").status_code == 404
    assert all(100 < value < 110 for value in ask(url, daisy))

    second = stored_model(tmp_path / "daisy2", "daisy", "2")
    stop, seen, failed = threading.Event(), set(), []

    def keep_asking() -> None:
        while not stop.is_set():
            try:
                seen.add(int(ask(url, daisy)[0] // 100))
            except Exception as error:
                failed.append(repr(error))
            time.sleep(PAUSE_S)

    caller = threading.Thread(target=keep_asking)
    caller.start()
    try:
        updated = main(cluster, second.plain(), **SMALL)
    finally:
        stop.set()
        caller.join(60)
    assert failed == []
    assert seen == {1, 2}
    assert updated["data"]["update"] is True
    assert updated["data"]["smoke"]["model_version"] == "2"
    assert all(100 < value < 110 for value in ask(other_url, tulip))

    assert undeploy_model.main(cluster, "side")["data"] == {"name": "side", "deleted": True}
    assert httpx.get(f"{other_url}/v2/health/ready").status_code == 404
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    assert undeploy_model.main(cluster, "side")["data"]["deleted"] is False


def test_two_versions_share_requests_by_weight_and_none_is_lost_while_the_weights_change(
    cluster: dict[str, Any], tmp_path: Path
) -> None:
    first, second = (stored_model(tmp_path / version, "lily", version) for version in ("1", "2"))
    url = main(cluster, first.plain(), **SMALL)["output"]["url"]
    stop, answers, lost = threading.Event(), Counter[str](), list[str]()

    def keep_asking() -> None:
        with httpx.Client(timeout=60) as client:
            while not stop.is_set():
                try:
                    answer = client.post(infer_url(url, "lily"), json=build_smoke_request(first))
                    version = answer.headers["x-flexcore-model-version"]
                    assert answer.json()["model_version"] == version
                    answers[version] += 1
                except Exception as error:
                    lost.append(repr(error))
                time.sleep(PAUSE_S)

    caller = threading.Thread(target=keep_asking)
    caller.start()
    try:
        beside = main(cluster, second.plain(), weight=25, **SMALL)["data"]
        assert (beside["traffic"], beside["replaced"]) == ({"1": 75.0, "2": 25.0}, [])
        assert beside["smoke"]["model_version"] == "2", "the new version itself was asked"
        moved = set_traffic.main(cluster, "lily", {"2": 1})["data"]
        assert (moved["before"], moved["traffic"]) == ({"1": 75.0, "2": 25.0}, {"1": 0.0, "2": 100.0})
        answers.clear()
        wait_until(lambda: answers["2"] > 20)
        assert answers["1"] <= 1, "one may have been in progress"

        (listed,) = [item for item in deployed_models.list_deployed(cluster) if item.name == "lily"]
        shown = [(item.version, item.weight, item.ready, item.run) for item in listed.versions]
        assert [item[:3] for item in shown] == [("2", 100, True), ("1", 0, True)] and all(item[3] for item in shown)
        assert (listed.url, listed.former, listed.no_way_back) == (url, "1", "")
        assert set_traffic.main(cluster, "lily", rollback=True)["data"]["traffic"] == {"1": 75.0, "2": 25.0}
        assert httpx.get(f"{url}/v2/traffic").json()["weights"] == {"1": 75.0, "2": 25.0}
        with pytest.raises(InvalidInput, match="gives 25 % of its requests to version '2'"):
            undeploy_model.main(cluster, "lily", "2")
        set_traffic.main(cluster, "lily", {"1": 1})
        assert undeploy_model.main(cluster, "lily", "2")["data"]["deleted"] is True
    finally:
        stop.set()
        caller.join(90)
    assert lost == []
    assert httpx.get(f"{url}/v2/models/lily").json()["versions"] == ["1"]
    with pytest.raises(InvalidInput, match="lily has no version '2'"):
        set_traffic.main(cluster, "lily", {"2": 1})
    with pytest.raises(InvalidInput, match="version '2' is not deployed any more"):
        set_traffic.main(cluster, "lily", rollback=True)
    records = [*(tmp_path / "home/store").glob("fc-*/*/traffic.json")]
    assert {"1": 75.0, "2": 25.0} in [json.loads(path.read_text())["before"] for path in records]


def test_requests_and_answers_of_any_size_pass_the_ingress(cluster: dict[str, Any], tmp_path: Path) -> None:
    """gRPC between replicas takes 4 MiB."""
    model = stored_model(tmp_path / "m", "large", "1")
    url = infer_url(main(cluster, model.plain(), **SMALL)["output"]["url"], "large")
    for rows, outputs in ((600_000, 1), (60_000, 5)):
        inputs = [{"name": "petals", "data": [5] * rows}, {"name": "kind", "data": ["lily"] * rows}]
        body = json.dumps({"inputs": inputs, "outputs": [{"name": "predict"}] * outputs})
        answer = httpx.post(url, content=body, timeout=120)
        assert answer.status_code == 200, answer.text[:500]
        assert max(len(body), len(answer.content)) > 4 * 1024 * 1024
        assert [len(item["data"]) for item in answer.json()["outputs"]] == [rows] * outputs
    undeploy_model.main(cluster, "large")


def wait_until(check: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_model_that_was_changed_does_not_take_the_place_of_one_that_answers(
    cluster: dict[str, Any], tmp_path: Path
) -> None:
    good = stored_model(tmp_path / "good", "steady", "1")
    url = main(cluster, good.plain(), **SMALL)["output"]["url"]
    bad = stored_model(tmp_path / "bad", "steady", "2")
    Path(local_path(bad.uri), "model.skops").write_bytes(b"damaged")
    with pytest.raises(ManifestMismatch, match="another checksum"):
        main(cluster, bad.plain(), **SMALL)
    assert len(ask(url, good)) == len(good.example)


def test_what_is_no_model_of_ours_is_refused(cluster: dict[str, Any], tmp_path: Path) -> None:
    model = stored_model(tmp_path / "m", "other", "1").plain()
    with pytest.raises(InvalidInput, match="format 'onnx'"):
        main(cluster, model | {"format": "onnx"})
    with pytest.raises(DataError):
        main(cluster, model | {"checksum": "sha256:" + "0" * 64})
