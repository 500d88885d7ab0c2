# requirements: flexcore_kubernetes
"""Runs one container, or a whole Job manifest, on Kubernetes to its end: logs live, exit code, reason."""

import os
from typing import Any, Literal

from f.flexcore.lib.core import deferral
from f.flexcore.lib.kubernetes import connection, job_manifest, jobs, manifest_notes

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
        image=image,
        command=command,
        args=args,
        env=env,
        secret_env=secret_env,
        secrets=secrets,
        cpu=cpu,
        memory=memory,
        gpus=gpus,
        service_account=service_account,
        run_as_user=run_as_user,
        manifest=manifest,
        timeout_s=timeout_s,
        queue_timeout_s=queue_timeout_s,
        ttl_s=ttl_s,
    )
    request = job_manifest.job_request(asked)
    session = connection.connect(
        cluster,
        connection.job_namespace(namespace, job_manifest.written_namespace(request)),
        settings,
        manifest_notes.secret_values(request),
    )
    key, call = deferral.key_and_call(os.environ, deferred)
    runner = jobs.JobRunner(
        session.kubernetes, key, session.namespace, call, request, deferral.is_deferred(wait, deferred)
    )
    if runner.deferred:
        return manifest_notes.run_with_notes(
            runner, lambda: deferral.submitted("kubernetes", key, call, *runner.submit())
        )
    return manifest_notes.run_with_notes(runner, lambda: runner.result().plain())
