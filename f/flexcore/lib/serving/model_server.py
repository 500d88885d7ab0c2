# requirements: flexcore_base
"""A model server in one process: the Open Inference Protocol v2 by uvicorn alone, for a container. Shipped as source.

    python3 -m f.flexcore.lib.serving.model_server CONFIG.json

    {"folder": of the model's files, "port", "threads", "drain_s",
     "model": {name, version, format, signature, example, allow_pickle}}

It reads the model, answers its example once, and only then listens: what is ready has answered. SIGTERM makes it not
ready, and it goes on answering for drain_s, while proxies still send to it; then no more is taken, and what was begun
is finished. GET /metrics is server_metrics'. An end before it listened says why in the termination log.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import pathlib
import signal
import sys
import time
from typing import Any

from f.flexcore.lib.serving import model_format, open_inference, problems, server_metrics

Json = dict[str, Any]
SERVER = "flexcore-model-server"
JSON_TYPE = b"application/json"
MAX_BODY_BYTES = 64 << 20
# Requests that wait for a thread; more would only be answered too late.
MAX_WAITING = 512
FINISH_GRACE_S = 20
# Exit code of a model that cannot be read or cannot answer: of fetch_model.EXITS, which says the same of its files.
UNREADABLE = 40


class ServerApp:
    """The ASGI application of one model."""

    def __init__(
        self, served: open_inference.InferenceModel, metrics: server_metrics.ServerMetrics, threads: int
    ) -> None:
        self.served, self.metrics = served, metrics
        self.pool = concurrent.futures.ThreadPoolExecutor(threads)

    async def __call__(self, scope: Json, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        method, path = scope["method"], scope["path"].rstrip("/")
        if method == "POST" and path.endswith("/infer"):
            status, content = await self.infer(path, receive)
        elif path == "/metrics":
            await respond(send, 200, self.metrics.render().encode(), server_metrics.CONTENT_TYPE.encode())
            return
        elif self.metrics.is_draining and path.endswith("/ready"):
            status, content = 503, open_inference.encode_error("The server is stopping")
        else:
            status, content = self.served.respond(method, path, b"")
        await respond(send, status, content, JSON_TYPE, is_last=self.metrics.is_draining)

    async def infer(self, path: str, receive: Any) -> tuple[int, bytes]:
        """(status, body) of a request for an inference, which is counted."""
        started = time.perf_counter()
        self.metrics.in_flight += 1
        status, content = 500, b""
        try:
            status, content = await self.answer(path, receive)
        finally:
            self.metrics.in_flight -= 1
            self.metrics.count(status, time.perf_counter() - started)
        return status, content

    async def answer(self, path: str, receive: Any) -> tuple[int, bytes]:
        body = await read_body(receive)
        if body is None:
            return 413, open_inference.encode_error(f"The body has more than {MAX_BODY_BYTES} bytes: send fewer rows")
        if self.metrics.in_flight > MAX_WAITING:
            return 503, open_inference.encode_error(f"{MAX_WAITING} requests wait already: try again later")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, self.served.respond, "POST", path, body)


async def read_body(receive: Any) -> bytes | None:
    """None for one that is too long."""
    message = await receive()
    parts, size = [message.get("body", b"")], len(message.get("body", b""))
    while message.get("more_body") and size <= MAX_BODY_BYTES:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    return b"".join(parts) if size <= MAX_BODY_BYTES else None


async def respond(send: Any, status: int, content: bytes, kind: bytes, is_last: bool = False) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(content)).encode()),
        # Errors repeat parts of a request: no browser may take them for a page.
        (b"x-content-type-options", b"nosniff"),
        *([(b"connection", b"close")] if is_last else []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def load_app(config: Json) -> ServerApp:
    """The application of a model that has been read and has answered its example. Raises problems.Problem."""
    model, started = config["model"], time.perf_counter()
    pipeline = model_format.load_pipeline(
        pathlib.Path(config["folder"]), model["format"], bool(model.get("allow_pickle"))
    )
    served = open_inference.InferenceModel(model, pipeline, SERVER)
    load_s = time.perf_counter() - started
    if model.get("example"):
        columns = [column["name"] for column in model["signature"]["inputs"]]
        inputs = [{"name": name, "data": [row.get(name) for row in model["example"]]} for name in columns]
        try:
            open_inference.infer(pipeline, model, {"inputs": inputs})
        except Exception as error:
            raise problems.Problem(
                "ManifestMismatch",
                f"The model does not answer its own example: {type(error).__name__}: {str(error)[:200]}",
                "model",
                "Serve it with the versions that it was trained with.",
            ) from error
    metrics = server_metrics.ServerMetrics(model["name"], model["version"], load_s)
    return ServerApp(served, metrics, config["threads"])


async def serve(app: ServerApp, config: Json) -> None:
    """Returns when the process shall end: drain_s after a signal, and when all that was begun has been answered."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=config.get("host", "0.0.0.0"),
            port=config["port"],
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            backlog=2048,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=FINISH_GRACE_S,
        )
    )
    # Its own handlers would stop listening at once.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    def drain() -> None:
        if app.metrics.is_draining:
            stop()
            return
        app.metrics.is_draining = True
        print(f"Stopping: requests are answered for {config['drain_s']} s more", flush=True)
        loop.call_later(config["drain_s"], stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, drain)
    await server.serve()


def run(path: str, termination_log: str = "/dev/termination-log") -> int:
    config: Json = json.loads(pathlib.Path(path).read_text())
    try:
        app = load_app(config)
    except problems.Problem as problem:
        text = f"{problem} {problem.flexcore['remedy']}"
    except Exception as error:
        text = f"The model cannot be read: {type(error).__name__}: {str(error)[:300]}"
    else:
        model = config["model"]
        print(
            f"{model['name']} {model['version']} read in {app.metrics.load_s:.2f} s: port {config['port']}", flush=True
        )
        asyncio.run(serve(app, config))
        return 0
    print(text, file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):
        pathlib.Path(termination_log).write_text(text)
    return UNREADABLE


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
