# requirements: flexcore_base
"""A model behind the Open Inference Protocol v2 (serving/open_inference), as a Ray Serve application. Shipped to
replicas by value."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage
from f.flexcore.lib.serving import model_format, open_inference

Json = dict[str, Any]
SERVER = "flexcore-ray-serve"


class ModelApp:
    """One replica: brings the model from the store, verified, and answers requests.

    model: {name, version, uri, format, files, signature, allow_pickle}; storage: how to reach the store.
    """

    def __init__(self, model: Json, storage: Json) -> None:
        self.served = open_inference.InferenceModel(model, load_model(model, storage), SERVER)

    def reconfigure(self, owner: Json) -> None:
        """Ray Serve shows a deployment's `user_config`: the owner's labels. The model itself takes none of it."""

    async def __call__(self, request: Any) -> Any:
        from starlette.responses import Response

        path = request.scope["path"]
        path = path[path.index("/v2") :] if "/v2" in path else path
        body = await request.body() if request.method == "POST" else b""
        status, content = await self.ask(request.method, path.rstrip("/"), body)
        return Response(content, status, media_type="application/json")

    async def ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """(HTTP status, body) of the answer to a request."""
        return await asyncio.to_thread(self.served.respond, method, path, body)


def load_model(model: Json, storage: Json) -> Any:
    """The pipeline from the store, its files verified. Raises InvalidInput for a pickle without a yes."""
    with tempfile.TemporaryDirectory() as folder:
        shared_storage.RemoteStore(storage).download(model["uri"], model["files"], Path(folder))
        return model_format.load_pipeline(Path(folder), model["format"], bool(model.get("allow_pickle")))
