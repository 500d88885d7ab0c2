# requirements: flexcore_kubernetes
"""Runs one container, or a whole Job manifest, on Kubernetes to its end: logs live, exit code, reason."""

from typing import Any, Literal

from f.flexcore.lib.kubernetes import job_operation

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
    options: dict | None = None,
    inputs: dict | None = None,
    output: Literal["none", "manifest", "json"] = "none",
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
    return job_operation.RUN_JOB.run(locals())
