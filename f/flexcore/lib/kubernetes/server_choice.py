# requirements: flexcore_kubernetes
"""Which server answers for a model, and whether it can: its format, and trained with → served with. Pure.

flexcore    our own (serving/model_server), in an image with the versions of resources/model_server or of the form
mlserver    MLServer's scikit-learn runtime, or whatever an image starts by itself
"""

from __future__ import annotations

from collections.abc import Sequence

from f.flexcore.lib.core import contracts, errors, model_versions, resources
from f.flexcore.lib.kubernetes import model_delivery

FLEXCORE, MLSERVER = "flexcore", "mlserver"
# Files of a model: what ray/train always writes, and what it writes for MLServer.
DESCRIPTION, PICKLE = "pipeline.json", "model.joblib"
# What resources/model_server/requirements.txt installs, of what reads a model; and its Python.
IMAGE_VERSIONS = {
    "scikit-learn": "1.9.1",
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "pandas": "3.1.1",
    "joblib": "1.6.0",
    "skops": "0.16.0",
    "xgboost": "3.2.0",
    "lightgbm": "4.7.0",
    "python": "3.11",
}
BUILD = "docker build --build-arg REQUIREMENTS=requirements.txt resources/model_server"


def parse_packages(lines: Sequence[str]) -> dict[str, str]:
    """Distribution → version. Raises InvalidInput."""
    versions = {}
    for index, line in enumerate(lines):
        name, equals, version = line.partition("==")
        if not equals or not name.strip() or model_versions.parse_version(version.strip()) is None:
            raise errors.InvalidInput(
                f"image_packages.{index}: {line!r} is not of the form NAME==VERSION",
                subject=f"image_packages.{index}",
                remedy="Give the lines that pip freeze writes in the image, e.g. scikit-learn==1.9.1.",
            )
        versions[name.strip().lower().replace("_", "-").removesuffix("-cpu")] = version.strip()
    return versions


def check_image(server: str, image: str, packages: Sequence[str]) -> None:
    """Raises InvalidInput for what can be known without a model."""
    if server == FLEXCORE and not image:
        raise errors.InvalidInput(
            "image is empty: server flexcore has no image of its own in a public registry",
            subject="image",
            remedy="Build one from resources/model_server, push it where the cluster can pull, and name it; or set "
            "server to mlserver.",
        )
    if packages and server != FLEXCORE:
        raise errors.InvalidInput(
            f"image_packages cannot be used with server {server}",
            subject="image_packages",
            remedy="Leave it empty, or set server to flexcore.",
        )
    parse_packages(packages)


def check_model(
    model: contracts.ModelManifest, server: str, image: str, packages: Sequence[str], settings: resources.Settings
) -> None:
    """Raises InvalidInput when the server cannot read the model, before anything is made for it."""
    if server == FLEXCORE:
        check_format(model, settings)
        check_versions(model, parse_packages(packages) or IMAGE_VERSIONS, bool(packages))
        return
    paths = {file.path for file in model.files}
    if not image and DESCRIPTION in paths and PICKLE not in paths:
        raise errors.InvalidInput(
            f"model: MLServer's scikit-learn runtime reads {PICKLE}, which {model.name} {model.version} was stored "
            "without",
            subject="model",
            remedy="Set server to flexcore, which reads models without pickle; or train it with settings.pickle at "
            f"export, or name an image that reads {model.format}.",
        )


def check_format(model: contracts.ModelManifest, settings: resources.Settings) -> None:
    """Formats without pickle; a pickle only by an explicit yes. Raises InvalidInput."""
    if model.format not in model_versions.RULES:
        raise errors.InvalidInput(
            f"model: server flexcore reads no models of format {model.format!r}",
            subject="model.format",
            remedy=f"It reads {', '.join(model_versions.RULES)}: train the model again, or set server to mlserver.",
        )
    if model.format == model_delivery.PICKLE_FORMAT and settings.pickle != "allow":
        raise errors.InvalidInput(
            f"model: {model.name} {model.version} is a pickle ({PICKLE}), which runs whatever it holds when it is "
            f"loaded, and settings.pickle is {settings.pickle}",
            subject="settings.pickle",
            remedy="Train it again, which stores it without pickle; or set settings.pickle to allow when you trust all "
            "who can write the store.",
        )


def check_versions(model: contracts.ModelManifest, served: dict[str, str], are_given: bool) -> None:
    """Raises InvalidInput that names both versions of each package with which the image cannot read the model. What
    only may differ in its answers is said by the pod's first container."""
    trained = model_versions.trained_versions(model)
    wrong = []
    for item in model_versions.list_ranges(model.format, trained):
        here = served.get(item["package"])
        if item["refuse"] and not model_versions.is_compatible(item, here):
            wrong.append(f"{item['package']} (trained with {item['trained']}, served with {here or 'none'})")
    if wrong:
        whose = "image_packages" if are_given else "resources/model_server"
        raise errors.InvalidInput(
            f"model: {model.name} {model.version} cannot be served by the versions of {whose}: {', '.join(wrong)}",
            subject="image_packages" if are_given else "model.versions",
            remedy=f"Build an image with the requirements.txt that lies beside the model ({BUILD}) and give its "
            "versions as image_packages; or train the model again.",
        )
