# requirements: flexcore_base
"""What a job takes of earlier stages: the data, the model, and the store in which they are."""

from __future__ import annotations

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from f.flexcore.lib.core import contracts, errors, identity, loopback, resources
from f.flexcore.lib.ray import dashboard
from f.flexcore.lib.storage import object_store

PICKLE_FORMAT = "sklearn-joblib"
MODEL_FORMATS = ("xgboost-ubj", "lightgbm-txt", "sklearn-skops", PICKLE_FORMAT)
# What a program on Ray must know of a model to bring and load it, and to compare versions.
MODEL_FIELDS = {"name", "version", "uri", "format", "files", "signature"}


def parse_source(source: dict[str, Any] | None) -> contracts.DataManifest:
    """The manifest of the data. Raises InvalidInput when it is missing, ManifestMismatch when it contradicts itself."""
    if source is None:
        raise errors.InvalidInput("source is missing", subject="source", remedy="Pass the output of an extraction.")
    manifest = object_store.data_manifest(source)
    contracts.check_consistent(manifest)
    return manifest


def select_stream(manifest: contracts.DataManifest, name: str) -> contracts.Stream:
    """Raises InvalidInput for an unknown stream, EmptyData for one without rows."""
    chosen = contracts.find_stream(manifest, name)
    stream = next(item for item in manifest.streams if item.name == chosen)
    if stream.rows == 0 or not stream.files:
        raise errors.EmptyData(f"The stream {stream.name!r} is empty", subject="source", remedy="Extract data first.")
    return stream


def source_parameters(manifest: contracts.DataManifest, stream: contracts.Stream) -> dashboard.Json:
    """What a program on Ray must know of the stream to read it."""
    files = [item.model_dump() for item in stream.files]
    return {
        "uri": manifest.uri,
        "format": manifest.format,
        "files": files,
        "columns": stream.columns,
        "stream": stream.name,
        "rows": stream.rows,
        "checksum": contracts.compute_checksum(stream.files),
    }


def _write_probe(store: object_store.Store, key: identity.ExecutionKey) -> str:
    """The URI of a small file that a program finds when it sees the worker's folder; written for a folder alone."""
    probe = store.uri(key.value, "shared.json")
    if store.local:
        store.write_json(probe, {"key": key.value})
    return probe


def parse_model(model: dict[str, Any] | None, settings: resources.Settings) -> contracts.ModelManifest:
    """The manifest of a model that Ray can load. Raises InvalidInput when it is missing, of another format, or a pickle
    without a yes; ManifestMismatch when it contradicts itself."""
    remedy = "Pass the output of f/flexcore/ray/train."
    if model is None:
        raise errors.InvalidInput("model is missing", subject="model", remedy=remedy)
    manifest = object_store.model_manifest(model)
    contracts.check_consistent(manifest)
    if manifest.format == PICKLE_FORMAT and settings.pickle != "allow":
        raise errors.InvalidInput(
            f"{manifest.name} {manifest.version} is a pickle (model.joblib), which runs whatever it holds when it is "
            f"loaded, and settings.pickle is {settings.pickle}",
            subject="settings.pickle",
            remedy="Train it again, which stores it without pickle; or set settings.pickle to allow when you trust all "
            "who can write the store.",
        )
    if manifest.format not in MODEL_FORMATS:
        raise errors.InvalidInput(
            f"model.format: Ray cannot load a model of format {manifest.format!r}",
            subject="model.format",
            remedy=remedy,
        )
    return manifest


def model_parameters(manifest: contracts.ModelManifest, settings: resources.Settings) -> dashboard.Json:
    """What a program on Ray must know of the model."""
    from f.flexcore.lib.core import model_versions

    return {
        **manifest.model_dump(mode="json", include=MODEL_FIELDS),
        "ranges": model_versions.list_ranges(manifest.format, model_versions.trained_versions(manifest)),
        "allow_pickle": settings.pickle == "allow",
    }


def read_requirements(model: contracts.ModelManifest, store: object_store.Store) -> list[str]:
    """The packages that can read the model, by its own list. Raises ManifestMismatch when that is not in the store."""
    files = [item for item in model.files if item.path == "requirements.txt"]
    if not files:
        return []
    part = model.model_copy(update={"files": files, "checksum": contracts.compute_checksum(files)})
    with TemporaryDirectory() as folder:
        store.download(part, Path(folder))
        return Path(folder, "requirements.txt").read_text().split()


def storage_access(
    settings: resources.Settings, store: object_store.Store, key: identity.ExecutionKey
) -> dashboard.Json:
    """How a program on Ray reaches the store, with a file (probe) that it must find there."""
    return {
        "uri": store.root,
        "endpoint_url": settings.storage_endpoint_url,
        "access_key": settings.storage_access_key,
        "secret_key": settings.storage_secret_key,
        "region": settings.storage_region,
        "probe": _write_probe(store, key),
    }


def check_store(service: resources.RayCluster | None, settings: resources.Settings) -> None:
    """Raises InvalidInput for a store at this machine's own address and a cluster elsewhere. A folder may be a mount
    that both share: the job itself looks for a file there."""
    check_reach("settings.storage_endpoint_url", settings.storage_endpoint_url, service, "the store")


def check_reach(
    field: str, address: str, service: resources.RayCluster | None, what: str, shown: str | None = None
) -> None:
    """Raises InvalidInput for a URL of this machine alone and a cluster elsewhere. shown: the address in its field."""
    if service is None or not loopback.means_caller(address) or not is_elsewhere(service):
        return
    pods = f"the pods of {service.name or 'a Ray cluster'}"
    where = pods if service.is_on_kubernetes else f"the Ray cluster at {service.address}"
    raise errors.InvalidInput(
        f"{field}: {shown or address} is an address of this machine alone, which {where} cannot reach",
        subject=field,
        remedy=f"Give the address under which the Ray nodes reach {what}.",
    )


def is_elsewhere(service: resources.RayCluster) -> bool:
    """Whether the cluster is surely not on this machine. Of one that a resource names, nothing is known before it was
    read (job_adapter.check_again); pods have an address of their own, also where their node is this machine."""
    if service.is_on_kubernetes:
        return True
    return not (service.resource or service.local_head or is_this_machine(service.address))


def is_this_machine(address: str) -> bool:
    """Whether an address is surely one of this machine; no name is looked up for it."""
    host = urlsplit(address).hostname or ""
    if loopback.is_loopback(address) or host == socket.gethostname().lower():
        return True
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            socket.inet_pton(probe.family, host)
            probe.bind((host, 0))
    except OSError:
        return False
    return True
