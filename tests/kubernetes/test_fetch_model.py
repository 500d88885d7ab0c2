"""The program of a model pod's first container, run by a Python without this bundle, against a real S3 API (moto)."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from f.flexcore.lib.kubernetes.remote.fetch_model import EXITS, sign_headers
from f.flexcore.lib.kubernetes_api.categories import ACTIONS
from f.flexcore.lib.kubernetes_api.pod_problems import FETCH_EXITS

PROGRAM = Path("f/flexcore/lib/kubernetes/remote/fetch_model.py").resolve()
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "open-sesame"}
CONTENT = b"model" * 1000


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="store")
    client.put_object(Bucket="store", Key="run 1/model/sub/mödel+1.bin", Body=CONTENT)
    yield url
    server.stop()


def plan(folder: Path, endpoint: str | None, name: str = "sub/mödel+1.bin", **changes: Any) -> dict[str, Any]:
    checksum = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
    source = {"endpoint": endpoint, "bucket": "store", "prefix": "run 1/model", "region": ""} if endpoint else None
    files = [{"path": name, "bytes": len(CONTENT), "checksum": checksum}]
    return {"folder": str(folder), "files": files, "source": source, **changes}


def run(tmp_path: Path, what: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(what))
    # -I: nothing of this environment's paths, as in a server image.
    command = [sys.executable, "-I", str(PROGRAM), str(path)]
    env = {**KEYS, "PATH": os.environ["PATH"]}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_the_models_files_are_brought_and_checked(tmp_path: Path, store: str) -> None:
    done = run(tmp_path, plan(tmp_path / "m", store))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m" / "sub" / "mödel+1.bin").read_bytes() == CONTENT
    assert "checksum matches" in done.stdout and "open-sesame" not in done.stdout + done.stderr


def test_a_file_that_is_not_the_manifests_is_a_mismatch(tmp_path: Path, store: str) -> None:
    what = plan(tmp_path / "m", store)
    what["files"][0]["checksum"] = "sha256:" + "0" * 64
    done = run(tmp_path, what)
    assert done.returncode == EXITS["mismatch"] and "another checksum" in done.stderr


def test_a_file_that_the_store_lacks_is_not_found(tmp_path: Path, store: str) -> None:
    done = run(tmp_path, plan(tmp_path / "m", store, "absent.bin"))
    assert done.returncode == EXITS["not_found"] and "absent.bin" in done.stderr


def test_files_that_are_in_place_are_checked_where_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "a.bin").write_bytes(CONTENT)
    assert run(tmp_path, plan(folder, None, "a.bin")).returncode == 0
    assert run(tmp_path, plan(folder, None, "b.bin")).returncode == EXITS["mismatch"]


def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, store: str) -> None:
    done = run(tmp_path, plan(tmp_path / "m", store, "../../escape"))
    assert done.returncode == EXITS["mismatch"] and "outside" in done.stderr


def test_the_signature_is_the_one_that_amazons_own_client_makes() -> None:
    from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
    from botocore.credentials import Credentials  # type: ignore[import-untyped]

    url, moment = "http://store.example:9000/store/run%201/m%C3%B6del%2B1.bin", "20260102T030405Z"
    request = AWSRequest("GET", url)
    request.context["timestamp"] = moment
    request.headers["x-amz-content-sha256"] = hashlib.sha256(b"").hexdigest()
    request.headers["x-amz-date"] = moment
    auth = S3SigV4Auth(Credentials("AKIDEXAMPLE", "open-sesame"), "s3", "eu-west-1")
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    now = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    assert sign_headers(url, "eu-west-1", "AKIDEXAMPLE", "open-sesame", now)["Authorization"].endswith(expected)


def test_the_diagnosis_knows_every_way_in_which_it_ends() -> None:
    assert {code: f"model_{kind}" for kind, code in EXITS.items()} == FETCH_EXITS
    assert {f"model_{kind}" for kind in EXITS} <= set(ACTIONS)


@pytest.mark.parametrize(
    ("trained", "refuse", "code", "text"),
    [
        ({"low": [3, 0], "high": None}, True, 0, ""),
        ({"low": [2, 0], "high": [3, 0]}, True, EXITS["mismatch"], "trained with python 2.7, and the image has 3."),
        ({"low": [2, 0], "high": [3, 0]}, False, 0, "its answers may differ"),
        ({"low": None, "high": None}, True, EXITS["mismatch"], "train it again"),
    ],
)
def test_the_images_versions_are_compared_before_the_model_is_brought(
    tmp_path: Path, trained: dict[str, Any], refuse: bool, code: int, text: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    item = {"package": "python", "names": ["python"], "trained": "2.7", "refuse": refuse, **trained}
    absent = {"package": "x", "names": ["no-such-package"], "trained": "1", "refuse": True, "low": [1, 0], "high": None}
    done = run(tmp_path, {"folder": str(folder), "files": [], "source": None, "ranges": [item, absent]})
    assert done.returncode == code
    assert text in done.stdout + done.stderr
