"""The store as an S3 API that worker and Ray reach, and nothing else is shared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from moto.server import ThreadedMotoServer

from f.flexcore.lib.core.contracts import DataManifest, File, Stream, compute_checksum
from f.flexcore.lib.core.errors import FlexcoreError
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.storage.object_store import Store, model_manifest
from f.flexcore.ray import deploy_model, train
from tests.ray.conftest import bearer
from tests.ray.data import COLUMNS, houses

pytestmark = pytest.mark.slow
KEYS = {"storage_access_key": "flexcore-key", "storage_secret_key": "sesame-open-1234"}


@pytest.fixture
def settings() -> Iterator[dict[str, Any]]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.put(f"{url}/bucket")
    yield {"storage_uri": "s3://bucket/flexcore", "storage_endpoint_url": url, **KEYS}
    server.stop()


def extracted(settings: dict[str, Any]) -> DataManifest:
    store = Store(Settings.model_validate(settings))
    uri = store.uri("extraction")
    content = "".join(json.dumps(row) + "\n" for row in houses(120)).encode()
    store.write_bytes(f"{uri}/rows.jsonl", content)
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    file = File(path="rows.jsonl", bytes=len(content), checksum=checksum)
    stream = Stream(name="rows", rows=120, bytes=len(content), columns=COLUMNS, files=[file])
    return DataManifest(uri=uri, format="jsonl", streams=[stream], checksum=compute_checksum([file]))


def test_a_model_is_trained_and_served_through_s3_alone(cluster: dict[str, Any], settings: dict[str, Any]) -> None:
    source = extracted(settings).plain()
    asked: dict[str, Any] = {"features": ["rooms", "city"], "model_name": "from-s3", "settings": settings}
    result = train.main(cluster, source, "price", algorithm="Ridge", **asked)
    model = model_manifest(result["output"])
    assert model.uri.startswith("s3://bucket/flexcore/")
    Store(Settings.model_validate(settings)).verify(model)
    served = deploy_model.main(cluster, model.plain(), cpus=0.1, settings=settings)
    assert served["data"]["smoke"]["rows"] == len(model.example)
    jobs = httpx.get(f"{cluster['address']}/api/jobs/", headers=bearer(cluster)).text
    applications = httpx.get(f"{cluster['address']}/api/serve/applications/", headers=bearer(cluster)).text
    assert "sesame" not in jobs + applications + json.dumps(result) + json.dumps(served)


def test_a_store_that_ray_cannot_use_is_told(cluster: dict[str, Any], settings: dict[str, Any]) -> None:
    source = extracted(settings).plain()
    source["streams"][0]["files"][0]["path"] = "gone.jsonl"
    source["checksum"] = compute_checksum([File.model_validate(source["streams"][0]["files"][0])])
    with pytest.raises(FlexcoreError, match=r"gone\.jsonl .* is missing"):
        train.main(cluster, source, "price", settings=settings)
