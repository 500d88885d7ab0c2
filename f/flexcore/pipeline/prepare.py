# requirements: flexcore_kubernetes
"""First step of the hybrid pipeline: the whole request checked before anything runs, and the stages already done."""

from typing import Any

from f.flexcore.lib.core import contracts, errors, requests, resources
from f.flexcore.lib.pipeline import endpoint, preflight, services, stage_results
from f.flexcore.lib.storage import object_store

c_flexcore_settings = dict


def main(
    extraction: dict,
    ml: dict,
    deployment: dict,
    partial_results: list[dict] | None = None,
    settings: c_flexcore_settings | None = None,
) -> dict[str, Any]:
    asked = parts(extraction, ml, deployment)
    if not (isinstance(extraction, dict) and extraction.get("project")):
        raise errors.InvalidInput(
            "extraction.project: no Meltano project is given",
            subject="extraction.project",
            remedy="Choose a c_meltano_project resource.",
        )
    chosen = errors.validated(resources.Settings, settings or {}, "settings")
    if asked["deployment"]["target"] == "kubernetes":
        try:
            preflight.check_kubernetes(asked["deployment"], deployment.get("cluster"), chosen)
        except errors.UserError as error:
            error.subject = f"deployment.{error.subject}"
            raise
    store = object_store.Store(chosen)
    digests = {stage: stage_results.digest(request) for stage, request in asked.items()}
    digests["extraction"] = stage_results.digest(asked["extraction"] | {"project": source_of(extraction["project"])})
    finished, notes = stage_results.finished_before(partial_results or [], lambda step: verify(store, step), digests)
    for line in (*notes, *(f"{stage} was done before and is reused" for stage in finished)):
        print(line)
    ahead = {stage: asked[stage] for stage in stage_results.STAGES if stage not in finished}
    services.ask_all(
        services.questions(ahead, {"ml": ml.get("cluster"), "deployment": deployment.get("cluster")}, chosen, store)
    )
    compute = asked["deployment"]["resources"]
    asked["deployment"] |= {
        "cpus": requests.quantity(compute["cpu"]),
        "memory_gib": requests.quantity(compute["memory"]) / requests.GIB,
    }
    done = {stage: finished[stage].plain() if stage in finished else None for stage in stage_results.STAGES}
    return {**asked, "done": done, "reused": list(finished), "requests": digests}


def parts(extraction: Any, ml: Any, deployment: Any) -> dict[str, dict[str, Any]]:
    """Each stage's request; InvalidInput that names what is wrong in any of them."""
    asked, wrong = {}, []
    for stage, form, value, resource in (
        ("extraction", requests.ExtractionRequest, extraction, "project"),
        ("ml", requests.MlRequest, ml, "cluster"),
        ("deployment", requests.DeploymentRequest, deployment, "cluster"),
    ):
        try:
            asked[stage] = part(stage, form, value, resource)
        except errors.InvalidInput as error:
            wrong.append(error)
    if wrong:
        text = "; ".join(str(error).removesuffix(f". {error.remedy}") for error in wrong)
        raise errors.InvalidInput(text, subject=wrong[0].subject, remedy=wrong[0].remedy)
    return asked


def part(stage: str, form: type[resources.Form], value: Any, resource: str) -> dict[str, Any]:
    """One stage's request with its defaults; the resource is left out: results are stored, and it has secrets."""
    plain = {key: item for key, item in value.items() if key != resource} if isinstance(value, dict) else value
    return errors.validated(form, plain, stage).model_dump(mode="json")


def source_of(project: Any) -> dict[str, Any]:
    """Which project it is, without its secrets."""
    named = ("path", "git_url", "git_ref", "subdirectory", "meltano_yml")
    return {name: project[name] for name in named if project.get(name)} if isinstance(project, dict) else {}


def verify(store: object_store.Store, step: contracts.StepResult) -> None:
    """Raises FlexcoreError when what the step handed on is no longer there as it was."""
    if isinstance(step.output, contracts.EndpointManifest):
        endpoint.check_ready(step.output)
    elif step.output is not None:
        store.verify(step.output)
