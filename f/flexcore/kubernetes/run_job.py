# requirements: flexcore_kubernetes
# py: ==3.11.*
"""Runs one container, or a whole Job manifest, on Kubernetes to its end: logs live, exit code, reason."""

import os
from typing import Any, Literal

from f.flexcore.core.deferral import is_deferred, key_and_call, submitted
from f.flexcore.kubernetes.job_body import job_request, written_namespace
from f.flexcore.kubernetes.jobs import JobRunner
from f.flexcore.kubernetes.manifest_notes import run_with_notes, secret_values
from f.flexcore.kubernetes.session import connect, job_namespace

c_kubernetes_cluster = dict
c_flexcore_settings = dict


def main(
    cluster: c_kubernetes_cluster | None = None,
    image: str = "",
    command: list[str] | None = None,
    args: list[str] | None = None,
    env: list[str] | None = None,
    secret_env: list[str] | None = None,
    secrets: dict | None = None,
    cpu: str = "",
    memory: str = "",
    gpus: int = 0,
    manifest: dict | None = None,
    namespace: str = "",
    service_account: str = "",
    run_as_user: int | None = None,
    timeout_s: int | None = None,
    queue_timeout_s: int = 600,
    ttl_s: int = 3600,
    wait: Literal["block", "defer"] = "block",
    deferred: dict | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    asked = dict(
        image=image, command=command, args=args, env=env, secret_env=secret_env, secrets=secrets, cpu=cpu,
        memory=memory, gpus=gpus, service_account=service_account, run_as_user=run_as_user, manifest=manifest,
        timeout_s=timeout_s, queue_timeout_s=queue_timeout_s, ttl_s=ttl_s,
    )  # fmt: skip
    request = job_request(asked)
    session = connect(cluster, job_namespace(namespace, written_namespace(request)), settings, secret_values(request))
    key, call = key_and_call(os.environ, deferred)
    runner = JobRunner(session.kubernetes, key, session.namespace, call, request, is_deferred(wait, deferred))
    if runner.deferred:
        return run_with_notes(runner, lambda: submitted("kubernetes", key, call, *runner.submit()))
    return run_with_notes(runner, lambda: runner.result().plain())
