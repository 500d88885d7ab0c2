"""A flow's preprocessor makes its arguments as on a real Windmill 1.743 (make_preprocessor_cases.py asked it)."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import yaml

from tests.wmlocal.fidelity import case_files
from tests.wmlocal.fidelity.test_fidelity import comparable
from wmlocal.engine import Engine

CASES = case_files.read(case_files.PREPROCESSORS)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    root = tmp_path_factory.mktemp("bundle")
    for name, case in CASES.items():
        file = root / f"u/admin/fidpre_{name.partition('?')[0]}__flow/flow.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({"summary": "", "value": case["value"]}), encoding="utf-8")
    with Engine(root, tmp_path_factory.mktemp("home"), processes=4) as made:
        made.serve()
        yield made


@pytest.mark.parametrize("name", CASES)
def test_a_request_by_path_gives_what_a_server_gives(name: str, engine: Engine) -> None:
    flow, _, query = name.partition("?")
    with httpx.Client(
        base_url=f"{engine.url}/api/w/{engine.workspace}/", headers={"Authorization": f"Bearer {engine.token}"}
    ) as client:
        client.post(f"jobs/run_wait_result/f/u/admin/fidpre_{flow}?{query}", json={"b": 1}, timeout=60)
        (job,) = [item["id"] for item in client.get("jobs/list?per_page=1&has_null_parent=true").json()]
        done = client.get(f"jobs_u/completed/get_result_maybe/{job}").json()
        whole = client.get(f"jobs_u/completed/get/{job}").json()
    got = {
        "success": done["success"],
        "result": done["result"],
        "skipped": whole["is_skipped"],
        "preprocessor": (whole["flow_status"].get("preprocessor_module") or {}).get("type"),
        "arguments": sorted(whole["args"]),
    }
    assert comparable(got) == comparable(CASES[name]["expected"])
