"""What the request of each runtime says about its work."""

from __future__ import annotations

from typing import Any

import pytest

from f.flexcore.lib.core.workloads import WorkHints
from f.flexcore.lib.kubernetes import job_manifest as kubernetes
from f.flexcore.lib.meltano import request_models as meltano
from f.flexcore.lib.ray import job as ray
from f.flexcore.lib.runtimes import RUNTIMES

ONE_TAP = WorkHints(complexity="simple", complexity_reason="one tap into one target")
TWO_TAPS = WorkHints(complexity="complex", complexity_reason="2 taps")


@pytest.mark.parametrize(("taps", "hints"), [(["tap-a"], ONE_TAP), (["tap-a", "tap-b"], TWO_TAPS)])
def test_one_tap_into_one_target_is_simple_and_more_are_complex(taps: list[str], hints: WorkHints) -> None:
    assert meltano.derive_work_hints({"taps": taps}) == hints


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"operation": "program"}, {"complexity": "complex", "scaling": "low", "scaling_reason": "1 Ray worker"}),
        ({"operation": "program", "num_cpus": 2, "memory_gib": 1.5}, {"cpu": 2, "memory_bytes": 3 * 2**29}),
        ({"operation": "program", "num_workers": 9, "use_gpu": True, "num_gpus": 1}, {"gpu": 1, "scaling": "low"}),
        ({"operation": "train"}, {"complexity": "ml", "parallelizable": True, "cpu": None, "gpu": None}),
        ({"operation": "train", "num_workers": 2, "use_gpu": True}, {"gpu": 2, "scaling": "medium"}),
        ({"operation": "train", "num_workers": 8, "cpus_per_worker": 2, "num_cpus": 1}, {"cpu": 16, "scaling": "high"}),
    ],
)
def test_a_training_asks_for_what_all_its_workers_ask_for(form: dict[str, Any], expected: dict[str, Any]) -> None:
    hints = ray.derive_work_hints(form)
    assert {name: getattr(hints, name) for name in expected} == expected
    assert not hints.containerized


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"image": "x"}, {"cpu": None, "memory_bytes": None, "gpu": None, "scaling": None}),
        ({"cpu": "500m", "memory": "4Gi", "gpus": 2}, {"cpu": 0.5, "memory_bytes": 4 * 2**30, "gpu": 2}),
    ],
)
def test_a_container_asks_for_kubernetes_quantities(form: dict[str, Any], expected: dict[str, Any]) -> None:
    hints = kubernetes.derive_work_hints(form)
    assert {name: getattr(hints, name) for name in expected} == expected
    assert hints.containerized and hints.complexity == "complex"


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_of_the_registry_derives_hints(name: str) -> None:
    assert RUNTIMES[name].derive_hints({}).complexity
