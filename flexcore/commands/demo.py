"""`flexcore demo`: the hybrid pipeline on real flights, on this machine alone.

source → Meltano → store → Ray → model → endpoint → predictions of flights that were in none of it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from f.flexcore.lib.core.loopback import is_loopback
from flexcore import INSTALLED_ROOT, IS_INSTALLED
from flexcore.commands.demo_data import FEATURES, FLIGHTS, TABLES, TARGET, UNSEEN, write_demo_data
from flexcore.console import run_guarded

if TYPE_CHECKING:
    from flexcore.ray_head import RayHead

# How people type it: installed, or in a checkout.
COMMAND = "flexcore" if IS_INSTALLED else "bin/flexcore"
# The demo's engine has ended; the page is served by one that stays.
DASHBOARD = f"Dashboard: `{COMMAND} up` prints its address, by default http://127.0.0.1:8080; this run is there at"
PROJECT = INSTALLED_ROOT / "resources/meltano_sample"
FLOW = "f/flexcore/hybrid_pipeline"
MODEL = "arrival-delay"
MAX_SHOWN_FLIGHTS = 5
FAILED, CANNOT_START, INTERRUPTED = 1, 2, 130
Pair = tuple[float, float]


def demo(
    rows: Annotated[int, typer.Option(min=1000, max=FLIGHTS - 10 * UNSEEN, help="Flights to extract.")] = 50_000,
    algorithm: Annotated[str, typer.Option(help="xgboost, lightgbm or a scikit-learn regressor.")] = "xgboost",
    target: Annotated[str, typer.Option(help="Where the model answers: ray or kubernetes.")] = "ray",
    ray: Annotated[str, typer.Option(help="Dashboard of a Ray cluster; without it one is started here.")] = "",
    kubeconfig: Annotated[Path | None, typer.Option(help="Kubeconfig, for --target kubernetes.")] = None,
    settings: Annotated[str, typer.Option(help="Fields of a c_flexcore_settings as JSON or @file.")] = "{}",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the endpoint up until Ctrl-C.")] = False,
) -> None:
    """Extract flights, train a model of their delay, deploy it, and ask it for flights that it never saw."""
    args = {"target": target, "algorithm": algorithm, "kubeconfig": _kubeconfig(target, kubeconfig)}
    fields = _json(settings)
    run_guarded(lambda: _run(rows, args, ray, fields, keep))


def _run(rows: int, args: dict[str, Any], ray: str, settings: dict[str, Any], keep: bool) -> int:
    from wmlocal.engine.engine import answering_signals

    try:
        # What waits here ends, and what was started is stopped.
        with answering_signals(signal.default_int_handler):
            return _run_pipeline(rows, args, ray, settings, keep)
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started is stopped.", file=sys.stderr)
        return INTERRUPTED


def _run_pipeline(rows: int, args: dict[str, Any], ray: str, settings: dict[str, Any], keep: bool) -> int:
    from wmlocal.engine.engine import Engine, default_home
    from wmlocal.engine.progress import progress

    home = default_home()
    with ExitStack() as stack:
        # The head comes up while the data is written and the engine opened.
        head = None if ray else stack.enter_context(_starting_head(home))
        data = write_demo_data(home / f"demo/{rows}", rows)
        _say(f"Source: {rows:,} of {FLIGHTS:,} flights that left New York City in 2013")
        engine_events = progress()
        stack.callback(engine_events.close)
        engine = stack.enter_context(Engine(INSTALLED_ROOT, home, on_event=engine_events))
        if head:
            head.wait_ready()
            _say(f"Ray head: {head.address} (log: {head.log})")
        request = pipeline_request(
            data.folder,
            head.resource if head else {"address": ray, "token": _read_ray_token(os.environ)},
            args,
            settings,
        )
        started = time.monotonic()
        # Only while something runs that a signal can cancel; before and after, Ctrl-C ends the waiting.
        with engine.handling_signals():
            done = engine.run(FLOW, request)
        engine_events.close()
        if _was_interrupted(done.result):
            raise KeyboardInterrupt
        if not done.success:
            return _report_failure(done.id, done.result)
        pairs = ask(done.result, [features for features, _ in data.unseen], [delay for _, delay in data.unseen])
        _report(done.id, done.result, pairs, time.monotonic() - started)
        if keep:
            _say("The endpoint stays up; Ctrl-C ends it.")
            while True:
                time.sleep(3600)
    return 0


@contextmanager
def _starting_head(home: Path) -> Iterator[RayHead]:
    from flexcore.ray_head import RayHead

    head = RayHead(home / "ray")
    try:
        yield head.start(wait=False)
    finally:
        head.stop()


def _read_ray_token(env: Mapping[str, str]) -> str:
    """The token of a Ray cluster from where Ray's own command line takes it; "" when there is none."""
    if token := env.get("RAY_AUTH_TOKEN"):
        return token
    try:
        return Path(env.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray/auth_token").read_text().strip()
    except OSError:
        return ""


def pipeline_request(
    folder: Path, ray: dict[str, str], args: dict[str, Any], settings: dict[str, Any]
) -> dict[str, Any]:
    """The arguments of `f/flexcore/hybrid_pipeline`, as the form of the flow would send them. ray: a c_ray_cluster."""
    deployment: dict[str, Any] = {"target": args["target"], "resources": {"cpu": "500m", "memory": "1Gi"}}
    if args["target"] == "kubernetes":
        deployment["cluster"] = {"kubeconfig": args["kubeconfig"]}
    return {
        "extraction": {
            "project": {
                "path": str(PROJECT),
                "env": {f"FLEXCORE_SAMPLE_{name.upper()}": str(folder / f"{name}.csv") for name in TABLES},
            },
            "taps": [f"tap-{name}" for name in TABLES],
            "full_refresh": True,
        },
        "ml": {
            "cluster": ray,
            "stream": "flights",
            "algorithm": args["algorithm"],
            "target_column": TARGET,
            "features": FEATURES,
            "task": "regression",
            "model_name": MODEL,
        },
        "deployment": deployment,
        "settings": settings or None,
    }


def ask(result: dict[str, Any], rows: list[dict[str, Any]], truth: list[float]) -> list[Pair]:
    """(predicted, real) delay in minutes for each row, as the endpoint answers."""
    import httpx

    from f.flexcore.lib.core.contracts import ModelManifest
    from f.flexcore.lib.core.errors import Unreachable
    from f.flexcore.lib.core.inference import build_infer_request, parse_predictions

    model = ModelManifest.model_validate(result["stages"][1]["result"]["output"])
    url = f"{result['final_endpoint']}/v2/models/{model.name}/infer"
    body = build_infer_request(rows, model.signature)
    try:
        asked = httpx.post(url, json=body, timeout=60, trust_env=not is_loopback(url))
        answer = asked.raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unreachable(
            f"The endpoint {url} does not answer as a model does ({type(error).__name__})",
            remedy="Look at its log on the runtime, and try again.",
        ) from None
    return list(zip((float(value) for value in parse_predictions(answer)), truth, strict=True))


def errors(pairs: list[Pair], mean: float) -> dict[str, Pair]:
    """Mean absolute and root mean squared error in minutes: (of the model, of always saying the mean)."""
    count = len(pairs)
    return {
        "mean absolute error": (
            sum(abs(said - real) for said, real in pairs) / count,
            sum(abs(mean - real) for _, real in pairs) / count,
        ),
        "root mean squared error": (
            math.sqrt(sum((said - real) ** 2 for said, real in pairs) / count),
            math.sqrt(sum((mean - real) ** 2 for _, real in pairs) / count),
        ),
    }


def _report(job: str, result: dict[str, Any], pairs: list[Pair], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    stages = Table("stage", "runtime", "rows", "seconds", title="Stages")
    stages.add_column("output", overflow="fold")
    for item in result["stages"]:
        step = item["result"]
        output = step["output"] or {}
        took = sum(value for value in step["timings"].values() if isinstance(value, int | float))
        stages.add_row(item["stage"], step["runtime"], _count(output.get("rows")), f"{took:.1f}", output.get("uri", ""))
    console.print(stages)
    flights = Table(
        "predicted delay", "real delay", title=f"{MAX_SHOWN_FLIGHTS} of {len(pairs)} flights that the model never saw"
    )
    for said, real in pairs[:MAX_SHOWN_FLIGHTS]:
        flights.add_row(f"{said:+.0f} min", f"{real:+.0f} min")
    console.print(flights)
    mean = sum(real for _, real in pairs) / len(pairs)
    for name, (model, naive) in errors(pairs, mean).items():
        console.print(f"{name}: {model:.1f} min; always saying the average: {naive:.1f} min")
    console.print(f"Endpoint: {result['final_endpoint']} (Open Inference Protocol v2)")
    console.print(f"Logs: {COMMAND} workflow logs {job}    Whole run: {seconds:.0f} s")
    console.print(f"{DASHBOARD} #/executions/{job}", soft_wrap=True)


def _was_interrupted(result: Any) -> bool:
    error = result.get("error") if isinstance(result, dict) else None
    return isinstance(error, dict) and error.get("name") == "Canceled"


def _report_failure(job: str, result: Any) -> int:
    error = result.get("error") if isinstance(result, dict) else result
    print(f"\n{error}\nLogs: {COMMAND} workflow logs {job}\n{DASHBOARD} #/executions/{job}", file=sys.stderr)
    return FAILED


def _count(rows: int | None) -> str:
    return "not measured" if rows is None else f"{rows:,}"


def _kubeconfig(target: str, given: Path | None) -> str:
    if target == "ray":
        return ""
    if target != "kubernetes":
        raise _stop(f"--target {target}: choose ray or kubernetes")
    try:
        return (given or Path("~/.kube/config").expanduser()).read_text()
    except OSError as error:
        raise _stop(f"--kubeconfig: {error.filename} cannot be read; name a kubeconfig file") from None


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise _stop(f"--settings: {error}; give a JSON object or @file") from None
    if not isinstance(value, dict):
        raise _stop("--settings: give a JSON object or @file")
    return value


def _stop(message: str) -> typer.Exit:
    print(f"flexcore: {message}", file=sys.stderr)
    return typer.Exit(CANNOT_START)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
