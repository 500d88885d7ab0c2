# requirements: flexcore_base
"""The last page of an execution, from the plain result that programs read: summary, stages, chart, what is next. Pure.

show(render, plain, env)   the result with its page; a page that cannot be made costs nothing but itself
render_step                a StepResult, the end of a step and of the templates around one
render_pipeline            a PipelineResult
render_data_pipeline       a DataPipelineResult: finished, failed, or a plan
render_workflow            a WorkflowResult
Failures are in failure_pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from f.flexcore.lib.core import result_page
from f.flexcore.lib.views import html, stages

Plain = Mapping[str, Any]
FOLDER = "f/flexcore"
MAX_MEASURES = 30
MAX_VALUE_CHARACTERS = 200
STAGE_NAMES = ("extraction", "ml", "deployment")


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of Windmill's pages; None outside a worker that knows its server. job: this flow's own."""

    base: str = ""
    workspace: str = ""
    job: str = ""

    def flow(self, name: str) -> str:
        """A link to a flow or a script of ours, as HTML. name: below the bundle's folder, with its kind."""
        kind, _, path = name.partition(" ")
        page = f"{self.base}/{kind}s/get/{FOLDER}/{path}?workspace={quote(self.workspace)}" if self.base else None
        return html.build_link(page, f"{FOLDER}/{path}")


def read_links(env: Mapping[str, str]) -> Links:
    job = env.get("WM_FLOW_JOB_ID") or env.get("WM_JOB_ID") or ""
    return Links(env.get("WM_BASE_URL", "").rstrip("/"), env.get("WM_WORKSPACE", ""), job)


def show(render: Callable[[Plain, Links], str], plain: Plain, env: Mapping[str, str]) -> dict[str, Any]:
    """The result with its page. Raises nothing: what people see must not cost what programs read."""
    try:
        page = render(plain, read_links(env))
    except Exception as error:
        print(f"The page of the result could not be made ({type(error).__name__}); the result is whole", flush=True)
        return dict(plain)
    return result_page.add_page(plain, page)


# --- one step


def show_step(plain: dict[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
    """What `Operation.run` returns. A step that has only submitted its work, and what is no StepResult, has no page."""
    if "execution_key" not in plain or (plain.get("data") or {}).get("deferred"):
        return plain
    return show(render_step, plain, env)


def render_step(result: Plain, links: Links) -> str:
    stage = stages.read_stage(_name_work(result), result)
    rows = "" if stage.rows is None else f", {stage.rows:,.0f} rows"
    took = (
        "; its duration was not measured" if stage.seconds is None else f" after {html.format_seconds(stage.seconds)}"
    )
    text = f"{stage.name} on {stage.runtime}{took}{rows}"
    return html.build_page(
        html.build_summary(stage.status, text),
        *stages.render_stages([stage]),
        build_measures(result),
        build_diagnosis(result.get("diagnosis")),
        html.build_next_steps(list_next_steps([result], links)),
        html.build_fold("End of the log", str(result.get("log_tail") or "")),
    )


def _name_work(result: Plain) -> str:
    kind = str((result.get("remote") or {}).get("kind") or "work").replace("_", " ")
    return {"data": "extraction", "model": "training", "endpoint": "deployment"}.get(
        str((result.get("output") or {}).get("kind") or ""), kind
    )


def build_measures(result: Plain) -> str:
    """Return the numbers of a step and of its model; "" without any. One that was not measured says so."""
    output = result.get("output") or {}
    given = {**(result.get("metrics") or {}), **(output.get("metrics") or {})}
    used = result.get("resource_usage") or {}
    rows = [(name.replace("_", " "), _format_measure(value)) for name, value in given.items()][:MAX_MEASURES]
    cpu, memory = used.get("cpu_seconds"), used.get("peak_memory_bytes")
    rows += [
        ("CPU time", html.NOT_MEASURED if cpu is None else html.format_seconds(cpu)),
        ("most memory", html.NOT_MEASURED if memory is None else html.format_size(memory)),
    ]
    return html.build_table(("Measure", "Value"), rows)


def _format_measure(value: Any) -> str:
    number = stages.read_number(value)
    return html.NOT_MEASURED if number is None else f"{number:,.6g}"


def build_diagnosis(diagnosis: Any) -> str:
    if not isinstance(diagnosis, Mapping):
        return ""
    return html.build_table(
        ("Diagnosis", ""),
        [(name, str(diagnosis.get(name) or html.UNKNOWN)) for name in ("category", "detail", "remedy")],
    )


# --- what is next


def list_next_steps(results: Sequence[Plain], links: Links) -> list[str]:
    """Return what can be done with the last thing that was handed on, as HTML, and where the work can be seen."""
    given = [item.get("output") for item in results if isinstance(item.get("output"), Mapping)]
    last = given[-1] if given else None
    steps = _next_of(last, links) if last is not None else []
    for result in results:
        remote = result.get("remote") or {}
        if str(remote.get("url") or "").startswith(("http://", "https://")):
            name = f"{str(remote.get('kind') or 'remote').replace('_', ' ')} {remote.get('name')}"
            steps.append(f"Open {html.build_link(str(remote['url']), name)}.")
    return steps


def _next_of(output: Plain, links: Links) -> list[str]:
    uri, kind = html.build_code(str(output.get("uri"))), output.get("kind")
    if kind == "endpoint":
        address = f"{output.get('url')}/v2/models/{output.get('model_name')}/infer"
        return [
            f"Ask the model: POST to {html.build_code(address)} (Open Inference Protocol v2).",
            f"Release the next version in steps: {links.flow('flow kubernetes/canary_release')}.",
        ]
    if kind == "model":
        deploy = " or ".join(links.flow(f"script {runtime}/deploy_model") for runtime in ("kubernetes", "ray"))
        return [
            f"Deploy it: {deploy} with the output of this result as its model.",
            f"Predict with it: {links.flow('flow templates/batch_inference')}. It lies at {uri}.",
        ]
    if kind == "data":
        return [f"Train on it: {links.flow('flow templates/ml_training')}. It lies at {uri}."]
    return []


# --- pipelines


def render_pipeline(result: Plain, links: Links) -> str:
    """A PipelineResult that succeeded."""
    found = read_pipeline_stages(result)
    total = stages.total_seconds(found)
    reused = sum(stage.status == "reused" for stage in found)
    took = "not measured" if total is None else html.format_seconds(total)
    end = f"; the model answers at {result['final_endpoint']}" if result.get("final_endpoint") else ""
    again = f", {reused} of them reused" if reused else ""
    text = f"{len(found)} stages{again}; their work took {took}{end}"
    results = [item["result"] for item in result.get("stages") or ()]
    return html.build_page(
        html.build_summary("success", text),
        *stages.render_stages(found),
        html.build_next_steps(list_next_steps(results, links)),
    )


def read_pipeline_stages(result: Plain) -> list[stages.Stage]:
    finished = result.get("stages") or result.get("partial_results") or ()
    return [stages.read_stage(item["stage"], item["result"], "reused" if item["reused"] else "") for item in finished]


def render_data_pipeline(result: Plain, links: Links) -> str:
    """A DataPipelineResult that succeeded, or a plan."""
    runtime, selection = result.get("runtime") or "no runtime", result.get("selection") or {}
    reason = str(selection.get("reason") or "")
    if result.get("explain_only"):
        state = "ready" if result.get("success") else "refuses"
        text = result.get("error") or f"{runtime} would do the work, and nothing was run: {reason}"
        return html.build_page(
            html.build_summary(state, str(text)), build_forecast(result), _list_candidates(selection)
        )
    found = read_attempts(result)
    actual = result.get("actual") or {}
    took = html.format_seconds(actual.get("duration_s")) if actual.get("duration_s") is not None else html.NOT_MEASURED
    text = f"{runtime} did the work; it took {took}, {html.format_count(actual.get('rows'))} rows"
    return html.build_page(
        html.build_summary("success", text.replace("not measured rows", "rows not measured")),
        *stages.render_stages(found),
        build_forecast(result),
        html.build_line(f"Why {escape(str(runtime))}: {escape(reason)}") if reason else "",
        html.build_next_steps(list_next_steps([result.get("result") or {}], links)),
    )


def read_attempts(result: Plain) -> list[stages.Stage]:
    """Each runtime's turn as a stage; the last one, which did the work, with its parts, rows and cost."""
    actual, attempts = result.get("actual") or {}, result.get("attempts") or []
    found = []
    for number, item in enumerate(attempts, 1):
        status = "success" if item.get("success") else "failed" if item.get("started") else "could not start"
        work = result.get("result") if number == len(attempts) else None
        stage = stages.read_stage(f"attempt {number}", work or {}, status, item.get("duration_s"))
        is_last = number == len(attempts)
        rows, cost = (actual.get("rows"), actual.get("cost_usd")) if is_last else (None, None)
        found.append(
            stages.Stage(
                stage.name, str(item.get("runtime")), status, stage.duration_s, stage.parts, rows, cost, stage.output
            )
        )
    return found


def build_forecast(result: Plain) -> str:
    """Return what was forecast beside what came."""
    forecast, actual = result.get("forecast") or {}, result.get("actual") or {}
    rows = []
    for name, field, write in (
        ("Duration", "duration_s", html.format_seconds),
        ("Cost", "cost_usd", html.format_money),
    ):
        interval, real = forecast.get(field), actual.get(field)
        said = (
            f"{write(interval['p50'])} ({write(interval['p10'])} to {write(interval['p90'])})" if interval else "none"
        )
        rows.append((name, said, html.NOT_MEASURED if real is None else write(real)))
    return html.build_table(("", "Forecast (p10 to p90)", "Was"), rows)


def _list_candidates(selection: Plain) -> str:
    rows = [
        (str(item.get("runtime")), "yes" if item.get("eligible") else "no", str(item.get("reason")))
        for item in selection.get("candidates") or ()
    ]
    return html.build_table(("Candidate", "Can do it", "Why"), rows) if rows else ""


def render_workflow(result: Plain, links: Links) -> str:
    """A WorkflowResult: its containers in the order in which they ran."""
    reused = set(result.get("reused") or ())
    nodes = result["nodes"]
    found = [stages.read_stage(name, item, "reused" if name in reused else "") for name, item in nodes.items()]
    total = stages.total_seconds(found)
    took = "not measured" if total is None else html.format_seconds(total)
    again = f", {len(reused)} of them reused" if reused else ""
    text = f"{len(found)} containers finished{again}; their work took {took}, side by side where it could"
    return html.build_page(
        html.build_summary("success", text),
        *stages.render_stages(found),
        html.build_next_steps(list_next_steps(list(nodes.values())[-1:], links)),
    )
