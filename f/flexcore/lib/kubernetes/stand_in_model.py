# requirements: flexcore_kubernetes
"""A model in place of one that is still to be trained, so that its deployment can be planned. Pure."""

from __future__ import annotations

from typing import TypeVar

from f.flexcore.lib.core import contracts, resources

Request = TypeVar("Request", bound=resources.Form)

NAME = "model"
CHECKSUM = f"sha256:{'0' * 64}"
NOTE = "The model is not trained yet: name and files of a stand-in are planned"


def complete(request: Request, settings: resources.Settings) -> tuple[Request, list[str]]:
    """The request with a model, and a note when it had none."""
    if getattr(request, "model", None) is not None:
        return request, []
    model = make_model(str(getattr(request, "name", "")) or NAME, settings.storage_uri)
    return request.model_copy(update={"model": model.plain()}), [NOTE]


def make_model(name: str, store: str) -> contracts.ModelManifest:
    file = contracts.File(path="model.joblib", bytes=1, checksum=CHECKSUM)
    column = contracts.Column(name="x", datatype="FP64")
    return contracts.ModelManifest(
        uri=f"{store or 's3://store'}/models/{name}",
        format="sklearn-joblib",
        checksum=contracts.compute_checksum([file]),
        name=name,
        version="planned",
        algorithm="planned",
        target="y",
        framework=contracts.Framework(name="scikit-learn", version="0"),
        signature=contracts.Signature(inputs=[column], outputs=[column]),
        metrics={},
        files=[file],
    )
