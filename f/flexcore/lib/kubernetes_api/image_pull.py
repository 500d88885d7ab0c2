# requirements: flexcore_kubernetes
"""Why an image cannot be pulled: not found, denied, unreachable, for another platform, or with no valid name. Pure.

Read from the kubelet's waiting reason and the container runtime's message, which differs between registries.
Source: pkg/kubelet/images/types.go
"""

from __future__ import annotations

import re

from f.flexcore.lib.kubernetes_api import categories, container_ends

# The kubelet tries a failed pull again after 10 s: one such repeat is let pass.
PULL_GRACE_S = 15.0
NO_ACCESS = re.compile(r"unauthorized|denied|authentication required|forbidden|no basic auth", re.IGNORECASE)
# "lookup …: no such host" says nothing about the image, only about the network.
NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|connection re|EOF|TLS handshake|x509|too ?many ?requests|50\d |no space left"
    r"|deadline exceeded",
    re.IGNORECASE,
)
OTHER_PLATFORM = re.compile(r"no match(?:ing manifest)? for (?:platform|\S+/\S+)|no matching manifest", re.IGNORECASE)
NOT_IN_REGISTRY = re.compile(r"not found|manifest unknown|does not exist|name unknown", re.IGNORECASE)
PULL_REASONS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "RegistryUnavailable",
    "ErrImageNeverPull",
    "ImageInspectError",
    "SignatureValidationFailed",
)


def diagnose_image_pull(image: str, reason: str, message: str) -> categories.Problem | None:
    """reason: a container's waiting reason; None when it is none of an image's."""
    if reason == "InvalidImageName":
        return categories.Problem(categories.Category.IMAGE_INVALID, f"{image} is not the name of an image")
    return diagnose_failed_pull(image, reason, message) if reason in PULL_REASONS else None


def diagnose_failed_pull(image: str, reason: str, message: str) -> categories.Problem:
    detail = (
        f"Image {image} cannot be pulled ({reason}){': ' + container_ends.shorten_error(message) if message else ''}"
    )
    if reason == "ErrImageNeverPull":
        remedy = "Load the image onto the node, or set imagePullPolicy to IfNotPresent."
        return categories.Problem(categories.Category.IMAGE_NOT_FOUND, detail, remedy=remedy)
    if reason == "SignatureValidationFailed":
        return categories.Problem(
            categories.Category.IMAGE_DENIED, detail, remedy="Use an image whose signature the node accepts."
        )
    if OTHER_PLATFORM.search(message):
        remedy = "Use an image that is built for the node's platform, or nodes of the image's."
        return categories.Problem(categories.Category.IMAGE_NOT_FOUND, detail, remedy=remedy)
    if NETWORK.search(message):
        return categories.Problem(categories.Category.IMAGE_UNREACHABLE, detail, PULL_GRACE_S)
    # Docker Hub answers "denied" for what does not exist as well.
    if NO_ACCESS.search(message):
        return categories.Problem(categories.Category.IMAGE_DENIED, detail)
    return categories.Problem(
        categories.Category.IMAGE_NOT_FOUND, detail, 0.0 if NOT_IN_REGISTRY.search(message) else PULL_GRACE_S
    )
