"""Amounts of cpu, memory and devices, each in its own dimension."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.dimensions import check_amount, check_resource_name, parse_amount
from f.flexcore.lib.core.errors import InvalidInput, validate
from f.flexcore.lib.core.resources import Settings
from f.flexcore.lib.kubernetes.job_operation import RUN_JOB
from f.flexcore.lib.pipeline.hybrid_request import ComputeResources


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("500m", 0.5),
        ("2", 2.0),
        (2, 2.0),
        (0.5, 0.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1E", 1e18),
        ("1Ki", 1024.0),
        ("1.5Gi", 1.5 * 2**30),
        ("1G", 1e9),
        ("100n", 1e-7),
        ("5u", 5e-6),
        ("2Ei", 2.0 * 2**60),
        ("-1", -1.0),
        ("", None),
        ("1 Gi", None),
        ("1GB", None),
        ("Gi", None),
        (True, None),
        (None, None),
        ("1,5", None),
        ([], None),
    ],
)
def test_a_quantity_is_read_as_kubernetes_reads_it(text: Any, amount: float | None) -> None:
    assert parse_amount(text) == (pytest.approx(amount) if amount is not None else None)


@pytest.mark.parametrize(
    ("resource", "value", "spelling"),
    [
        ("memory", "500m", "500Mi"),
        ("memory", "512", "512Mi"),
        ("memory", 512, "512Mi"),
        ("memory", "64k", "64Mi"),
        ("memory", "1GB", "1Gi"),
        ("memory", "1gi", "1Gi"),
        ("memory", "512 MiB", "512Mi"),
        ("memory", "0,5G", "0.5Gi"),
        ("memory", "lots", "512Mi or 1Gi"),
        ("ephemeral-storage", "10", "10Mi"),
        ("hugepages-2Mi", "128m", "128Mi"),
        ("cpu", "2Gi", "Use 2 (cores)"),
        ("cpu", "500M", "500m"),
        ("cpu", "100Mi", "100m"),
        ("cpu", "1000", "1000m"),
        ("cpu", "2 cores", "Use 2."),
        ("cpu", "-1", "0 or more"),
        ("nvidia.com/gpu", "500m", "whole number"),
        ("nvidia.com/gpu", "1Gi", "whole number"),
        ("nvidia.com/gpu", 0.5, "whole number"),
    ],
)
def test_an_amount_of_another_dimension_is_refused_with_the_spelling_that_was_meant(
    resource: str, value: Any, spelling: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_amount(resource, value, "limits.x")
    assert caught.value.subject == "limits.x" and spelling in caught.value.remedy


@pytest.mark.parametrize(
    ("resource", "value"),
    [
        ("cpu", "500m"),
        ("cpu", 2),
        ("cpu", "0.5"),
        ("memory", "1Gi"),
        ("memory", "1e9"),
        ("memory", "512M"),
        ("memory", 0),
        ("memory", 1073741824),
        ("nvidia.com/gpu", "2"),
        ("ephemeral-storage", "10Gi"),
    ],
)
def test_an_amount_of_its_dimension_passes_without_a_remark(resource: str, value: Any) -> None:
    assert check_amount(resource, value, "x") is None


def test_hundreds_of_cores_are_allowed_and_remarked_upon() -> None:
    assert "500m is 0.5 of a core" in str(check_amount("cpu", "500", "limits.cpu"))


@pytest.mark.parametrize(("name", "meant"), [("gpu", "nvidia.com/gpu"), ("storage", "ephemeral-storage")])
def test_a_resource_that_kubernetes_does_not_know_is_named_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(InvalidInput, match=meant) as caught:
        check_resource_name(name, "limits")
    assert caught.value.subject == f"limits.{name}"


@pytest.mark.parametrize(
    "given",
    [{"memory": "500m"}, {"cpu": "2Gi"}],
)
def test_the_forms_of_pipelines_refuse_them_too(given: dict[str, str]) -> None:
    (field,) = given
    with pytest.raises(InvalidInput, match=r"Use (500Mi|2 \(cores\))") as caught:
        validate(ComputeResources, given, "")
    assert caught.value.subject == field
    with pytest.raises(InvalidInput, match=r"Use (500Mi|2 \(cores\))") as caught:
        RUN_JOB.check(RUN_JOB.parse({"image": "busybox", **given}), None, Settings())
    assert caught.value.subject == field
