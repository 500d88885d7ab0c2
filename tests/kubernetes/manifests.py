"""Manifests for the tests."""

from __future__ import annotations

import copy
from typing import Any

Object = dict[str, Any]

YAML = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: load
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: main
        image: busybox:1.36
        command: [sh, -c, "echo hi"]
"""


def job(
    spec: Object | None = None, pod: Object | None = None, container: Object | None = None, **metadata: Any
) -> Object:
    """A Job named `load` with one container; the arguments are laid over its parts."""
    only: Object = {"name": "main", "image": "busybox:1.36", **(container or {})}
    inner = {"restartPolicy": "Never", "containers": [only], **(pod or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "load", **metadata},
        "spec": {"template": {"spec": inner}, **(spec or {})},
    }


UID = "5f0e2f6a-1111-4222-8333-94a5b6c7d8e9"
CONTROLLER = {
    "controller-uid": UID,
    "job-name": "load",
    "batch.kubernetes.io/controller-uid": UID,
    "batch.kubernetes.io/job-name": "load",
}


def exported() -> Object:
    """The Job as `kubectl get job load -o yaml` prints it after it ran for a CronJob."""
    item = copy.deepcopy(job({"backoffLimit": 6, "completions": 1, "parallelism": 1, "suspend": False}))
    item["metadata"] |= {
        "uid": UID,
        "resourceVersion": "9",
        "generation": 1,
        "creationTimestamp": "2026-04-01T02:00:00Z",
        "labels": {"app": "loads", **CONTROLLER},
        "finalizers": ["foregroundDeletion"],
        "managedFields": [{}],
        "annotations": {
            "batch.kubernetes.io/job-tracking": "",
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
        },
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "nightly", "uid": UID}],
    }
    item["spec"] |= {"manualSelector": False, "selector": {"matchLabels": {"controller-uid": UID}}}
    item["spec"]["template"]["metadata"] = {"creationTimestamp": None, "labels": {"app": "loads", **CONTROLLER}}
    return item | {"status": {"succeeded": 1}}
