# requirements: flexcore_kubernetes
"""How a model reaches a pod, decided before anything is created. Pure.

""                     its s3:// address: a first container downloads it into an empty volume
pvc://CLAIM/FOLDER     a volume claim that holds it, mounted read-only
image                  the server image holds it at /mnt/models

Whichever way, the first container checks every file against the manifest; the server starts after that.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from f.flexcore.lib.core import contracts, errors, model_versions, module_source, resources
from f.flexcore.lib.kubernetes import pod_spec
from f.flexcore.lib.kubernetes.remote import fetch_model

FOLDER = "/mnt/models"
PICKLE_FORMAT = "sklearn-joblib"
PICKLE_FILES = ("model.joblib", "model-settings.json")
PROGRAM_FOLDER = "/flexcore"
# The program of our own model server, by modules of lib/serving. In a ConfigMap, as the first container's: an image
# then holds versions of packages and nothing of ours, and whoever deploys brings the program of the bundle in use.
SERVING = "f.flexcore.lib.serving"
SERVER_MODULES = (
    "problems",
    "column_kinds",
    "estimators",
    "model_format",
    "open_inference",
    "server_metrics",
    "model_server",
)
SERVER_CONFIG = "server.json"
# By its folder Python finds the modules: the image may say by PYTHONPATH where its packages are.
STARTER = "serve_model.py"
START = f"""import sys

from {SERVING} import model_server

if __name__ == "__main__":
    sys.exit(model_server.run(sys.argv[1]))
"""
PORT = 8080
# A pod that leaves keeps answering while proxies still send to it.
DRAIN_S = 3
FETCHER = "fetch-model"


@dataclass(frozen=True, slots=True)
class Delivery:
    """source: store, pvc or image. files: the ConfigMap's texts; secret: the Secret's, empty when none is needed.
    volume: what is mounted at /mnt/models (None: the image itself holds it), with `sub_path` below it."""

    source: str
    files: dict[str, str]
    secret: dict[str, str] = field(default_factory=dict, repr=False)
    volume: dict[str, Any] | None = None
    sub_path: str = ""

    def digest(self) -> str:
        """Ten hexadecimal digits that change with what is delivered, but not with the keys: it appears in names."""
        text = json.dumps([self.files, self.volume, self.sub_path], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Source:
    """What model_source says: kind store, pvc (of a claim, in a folder of it) or image."""

    kind: str
    claim: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """How our own model server runs. threads: that compute answers; allow_pickle: whether it may load one."""

    threads: int
    allow_pickle: bool = False

    def config(self, model: contracts.ModelManifest) -> dict[str, Any]:
        described = model.plain()
        fields = ("name", "version", "format", "signature", "example")
        return {
            "folder": FOLDER,
            "port": PORT,
            "threads": self.threads,
            "drain_s": DRAIN_S,
            "model": {**{name: described[name] for name in fields}, "allow_pickle": self.allow_pickle},
        }


def parse_source(model_source: str) -> Source:
    """Raises InvalidInput."""
    if model_source in ("", "image"):
        return Source(model_source or "store")
    remedy = "Write it as pvc://CLAIM/FOLDER."
    if not model_source.startswith("pvc://"):
        raise _wrong(
            f"{model_source!r} is not a way to deliver a model", "Leave it empty, or use pvc://CLAIM/FOLDER or image."
        )
    claim, _, folder = model_source.removeprefix("pvc://").partition("/")
    if not pod_spec.DNS_LABEL.fullmatch(claim):
        raise _wrong(f"{model_source!r} has no valid name of a volume claim", remedy)
    folder = folder.strip("/")
    # Kubernetes refuses such a subPath.
    if ".." in folder.split("/"):
        raise _wrong(f"{model_source!r} leaves the volume claim by ..", remedy)
    return Source("pvc", claim, folder)


def check_source(source: Source, uri: str, settings: resources.Settings) -> None:
    """Raises InvalidInput when pods cannot read the model from there. uri: of the model, or of the store that it will
    be in."""
    if source.kind != "store":
        return
    if not uri.startswith("s3://"):
        raise errors.InvalidInput(
            f"The model is stored {f'at {uri}' if uri else 'on the worker'}, where no pod can reach it",
            subject="settings.storage_uri",
            remedy="Use an s3:// storage_uri in the settings, or set model_source to pvc://CLAIM/FOLDER or image.",
        )
    pod_spec.check_endpoint(settings.storage_endpoint_url)


def make_delivery(
    model: contracts.ModelManifest, source: Source, settings: resources.Settings, server: Server | None = None
) -> Delivery:
    """server: our own, None for MLServer. Raises InvalidInput when the model cannot get to a pod that way."""
    check_source(source, model.uri, settings)
    if source.kind == "image":
        return Delivery("image", list_files(model, None, server))
    if source.kind == "pvc":
        volume = {"persistentVolumeClaim": {"claimName": source.claim, "readOnly": True}}
        return Delivery("pvc", list_files(model, None, server), volume=volume, sub_path=source.folder)
    bucket, _, prefix = model.uri.removeprefix("s3://").partition("/")
    store = {
        "endpoint": settings.storage_endpoint_url,
        "bucket": bucket,
        "prefix": prefix.strip("/"),
        "region": settings.storage_region,
    }
    keys = {
        "AWS_ACCESS_KEY_ID": settings.storage_access_key,
        "AWS_SECRET_ACCESS_KEY": settings.storage_secret_key,
    }
    return Delivery("store", list_files(model, store, server), keys if all(keys.values()) else {}, {"emptyDir": {}})


def list_files(model: contracts.ModelManifest, source: dict[str, str] | None, server: Server | None) -> dict[str, str]:
    form = model.format if server else PICKLE_FORMAT
    # MLServer's scikit-learn runtime reads the pickle, whatever else is there; ours never gets it but for a yes.
    entries = [file.plain() for file in model.files if form == PICKLE_FORMAT or file.path not in PICKLE_FILES]
    ranges = model_versions.list_ranges(form, model_versions.trained_versions(model))
    plan = {"folder": FOLDER, "files": entries, "source": source, "ranges": ranges}
    files = {"fetch_model.py": Path(inspect.getfile(fetch_model.run)).read_text(), "plan.json": json.dumps(plan)}
    if server is None:
        return files
    programs = {f"{SERVING}.{name}.py": module_source.find_source(f"{SERVING}.{name}") for name in SERVER_MODULES}
    return {**files, **programs, STARTER: START, SERVER_CONFIG: json.dumps(server.config(model))}


def program_path(key: str) -> str:
    """Where a key of the ConfigMap is in the pod, below PROGRAM_FOLDER: our modules where they import each other."""
    is_module = key.startswith(f"{SERVING}.")
    return f"{key.removesuffix('.py').replace('.', '/')}.py" if is_module else key


def _wrong(problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"model_source: {problem}", subject="model_source", remedy=remedy)
