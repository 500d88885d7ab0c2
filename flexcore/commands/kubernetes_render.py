"""`flexcore kubernetes render`: the objects that kubernetes/run_job would create, as `kubectl create --dry-run` prints
them. Asks no server; needs no cluster."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import yaml

from f.flexcore.kubernetes import run_job
from f.flexcore.lib.core.errors import FlexcoreError, InvalidInput, validate
from f.flexcore.lib.core.identity import execution_key
from f.flexcore.lib.core.redaction import MASK, SECRET_NAME, SHORTEST_SECRET, Redactor
from f.flexcore.lib.core.resources import KubernetesCluster, Resource, Settings
from f.flexcore.lib.kubernetes import job_handover
from f.flexcore.lib.kubernetes.connection import choose_request_namespace
from f.flexcore.lib.kubernetes.job_manifest import (
    JobRequest,
    build,
    check,
    companion_objects,
    make_job_body,
    own_companion,
    secret_values,
)
from f.flexcore.lib.kubernetes.job_operation import RUN_JOB
from f.flexcore.lib.kubernetes.pod_spec import check_name, iterate_containers
from wmlocal.suggest import nearest

# The name follows from the run; here it is always the same, so that two prints can be compared.
RUN = {"WM_JOB_ID": "00000000-0000-0000-0000-000000000000", "WM_FLOW_STEP_ID": "job"}
# What a variable such as MAX_TOKENS, TOKENIZERS_PARALLELISM or PASSWORD_FILE holds, or one that refers to another.
ORDINARY = re.compile(r"|\d{1,5}|true|false|yes|no|on|off|none|[~.]{0,2}/[\w./-]*|\$\(\w+\)", re.IGNORECASE)
UID = "SET-BY-THE-CLUSTER"
Model = TypeVar("Model", bound=Resource)


def rendered_objects(parameters: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """(objects, notes on what was changed of what was written), secret values masked. Raises the step's own errors."""
    _check_names(parameters)
    request = RUN_JOB.parse(parameters)
    check(request)
    namespace = _namespace(parameters, request)
    check_name(namespace, "namespace")
    key = execution_key(RUN)
    deadline = (datetime.now(UTC) + timedelta(seconds=request.time_limit_s)).isoformat(timespec="seconds")
    settings = _validated_or_none(Settings, parameters.get("settings")) or Settings()
    job = make_job_body(request, key, 1, namespace, RUN["WM_JOB_ID"], deadline, parameters.get("wait") == "defer")
    stored = {**job, "metadata": {**job["metadata"], "uid": UID}}
    job_handover.add_to_job(job, request, settings, job_handover.find_folder(settings, key, 1))
    inputs = [own_companion(job_handover.make_inputs(request, key.name(1)), stored)] if request.inputs else []
    objects = [job, *(_mask(item) for item in companion_objects(request, stored)), *inputs]
    notes = build(request, key.name(1), namespace).notes
    _mask_variables(job)
    secrets = [value for value in secret_values(request) if len(value) >= SHORTEST_SECRET]
    secrets.sort(key=len, reverse=True)
    return _hide(objects, secrets), _hide(notes, secrets)


def to_yaml(objects: list[dict[str, Any]]) -> str:
    """Documents as kubectl prints them: keys sorted, long texts as blocks."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=10_000)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _check_names(parameters: Mapping[str, Any]) -> None:
    known = list(inspect.signature(run_job.main).parameters)
    for name in parameters:
        if name not in known:
            close = nearest(name, known)
            remedy = f"Write {close}." if close else f"Use {', '.join(known)}."
            raise InvalidInput(f"{name}: kubernetes/run_job has no such field", subject=name, remedy=remedy)


def _namespace(parameters: Mapping[str, Any], request: JobRequest) -> str:
    """A resource that is not at hand, or a kubeconfig that cannot be read, says none: no server is asked."""
    cluster, settings = parameters.get("cluster"), parameters.get("settings")
    resource = _validated_or_none(KubernetesCluster, cluster)
    stored = _validated_or_none(Settings, settings) or Settings()
    return choose_request_namespace(request, resource, stored)


def _validated_or_none(model: type[Model], value: Any) -> Model | None:
    try:
        return validate(model, value, "") if isinstance(value, Mapping) else None
    except FlexcoreError:
        return None


def _mask(item: dict[str, Any]) -> dict[str, Any]:
    if item["kind"] != "Secret":
        return item
    hidden = {field: dict.fromkeys(item[field], MASK) for field in ("data", "stringData") if item.get(field)}
    return {**item, **hidden}


def _mask_variables(job: dict[str, Any]) -> None:
    """Masks what stands in a variable that is called a secret, and the passwords of URLs."""
    for _, container in iterate_containers(job["spec"]):
        for variable in container.get("env") or ():
            value = variable.get("value") or ""
            if SECRET_NAME.search(variable["name"]) and not ORDINARY.fullmatch(value):
                variable["value"] = MASK
            elif "://" in value:
                variable["value"] = Redactor().text(value)


def _hide(value: Any, secrets: list[str]) -> Any:
    """The known secrets in every text; other words of a command are the user's own and are not guessed at."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, Mapping):
        return {name: _hide(item, secrets) for name, item in value.items()}
    if isinstance(value, list):
        return [_hide(item, secrets) for item in value]
    return value
