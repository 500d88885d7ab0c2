"""What resources/deploy promises, as far as it can be told without a container engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flexcore.configuration.models import TAGS

DEPLOY = Path(__file__).parent.parent.parent / "resources/deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
GROUPS: dict[str, Any] = yaml.safe_load((DEPLOY / "values.yaml").read_text())["windmill"]["workerGroups"]
PINNED = re.compile(r":\d+\.\d+(\.\d+)?(-py311)?$")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_pinned_watched_and_not_root(name: str) -> None:
    service = COMPOSE["services"][name]
    assert PINNED.search(service["image"]) and service["healthcheck"]["test"]
    assert service["user"] and not service["user"].startswith(("0", "root"))
    assert not service.get("privileged") and "no-new-privileges:true" in service["security_opt"]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_secret_and_volume_is_declared_and_no_secret_is_in_an_environment(name: str) -> None:
    service = COMPOSE["services"][name]
    assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    assert {volume.split(":")[0] for volume in service.get("volumes", ())} <= COMPOSE["volumes"].keys()
    for key, value in service.get("environment", {}).items():
        assert key.endswith("_FILE") or not re.search("PASSWORD|SECRET|TOKEN|DATABASE_URL", key), (key, value)
    assert all("file" in secret for secret in COMPOSE["secrets"].values())


def test_each_tag_has_workers_in_both_deployments() -> None:
    composed = {service.get("environment", {}).get("WORKER_TAGS", "") for service in COMPOSE["services"].values()}
    charted = {
        item["value"]
        for group in GROUPS.values()
        for item in group.get("extraEnv", ())
        if item["name"] == "WORKER_TAGS"
    }
    assert set(TAGS) <= composed and set(TAGS) <= charted


def test_every_worker_of_the_chart_is_unprivileged() -> None:
    for name, group in GROUPS.items():
        assert group["podSecurityContext"]["runAsNonRoot"] and group["privileged"] is False, name
