# requirements: flexcore_base
"""Amounts of a container's resources, each in its own dimension: cores, bytes or whole devices. Pure.

The API server takes `500m` of memory (half a byte) and `2Gi` of processors; no pod can ever start with either.
Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator

from f.flexcore.lib.core import errors

BINARY = {f"{letter}i": 2.0 ** (10 * power) for power, letter in enumerate("KMGTPE", start=1)}
DECIMAL = {letter: 1000.0**power for power, letter in enumerate("kMGTPE", start=1)}
FRACTIONS = {"n": 1e-9, "u": 1e-6, "m": 1e-3}
SUFFIXES = {"": 1.0, **FRACTIONS, **DECIMAL, **BINARY}
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
QUANTITY = re.compile(rf"({NUMBER})(?:([eE][+-]?\d+)|({'|'.join(SUFFIXES)}))")
# A positive amount with a suffix that makes sense for cpu and memory, as a form takes it.
FORM_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)")
# What people write for an amount that Kubernetes spells otherwise: 1GB, 512 mb, 2 cores, 0,5.
LOOSE = re.compile(r"(\d+(?:[.,]\d+)?)\s*([a-z]*)", re.IGNORECASE)
BYTE_RESOURCES = ("memory", "ephemeral-storage", "storage")
STANDARD = ("cpu", "memory", "ephemeral-storage")
# A container runtime itself needs some MiB; an amount below one MiB lacks its unit.
MIN_MEMORY_BYTES = 2.0**20
# No node has so many cores: the m of millicores is missing.
MAX_CORES = 1000
# Few nodes have so many; worth a word.
MANY_CORES = 100


def parse_amount(value: Any) -> float | None:
    """A Kubernetes quantity as a number of cores, bytes or devices; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = QUANTITY.fullmatch(str(value))
    if not match:
        return None
    number = float(match[1])
    return float(f"{match[1]}{match[2]}") if match[2] else number * SUFFIXES[match[3]]


def check_amount(resource: str, value: Any, subject: str) -> str | None:
    """A remark on an amount that is allowed and looks wrong, or None. Raises InvalidInput with the spelling that was
    probably meant. resource: `cpu`, `memory`, `nvidia.com/gpu`, …"""
    amount = parse_amount(value)
    if amount is None:
        raise _wrong(subject, f"{value!r} is not an amount of {resource}", f"Use {_spelling(resource, value)}.")
    if amount < 0:
        raise _wrong(subject, f"{value} is negative", "Use 0 or more.")
    number, suffix = _parts(value)
    if resource == "cpu":
        return _check_cores(amount, number, suffix, value, subject)
    if resource in BYTE_RESOURCES or resource.startswith("hugepages-"):
        _check_bytes(resource, amount, number, suffix, value, subject)
    elif amount != int(amount) or suffix in FRACTIONS or suffix in BINARY:
        raise _wrong(subject, f"{value} is not a number of devices", "Use a whole number such as 1.")
    return None


def check_resource_name(name: Any, subject: str) -> None:
    """Refuses a name that the API server refuses: one that is neither standard nor has a domain."""
    if name in STANDARD or str(name).startswith("hugepages-") or "/" in str(name):
        return
    meant = {"gpu": "nvidia.com/gpu", "storage": "ephemeral-storage", "disk": "ephemeral-storage", "mem": "memory"}
    known = meant.get(str(name).lower(), "cpu, memory, ephemeral-storage or a device such as nvidia.com/gpu")
    raise _wrong(f"{subject}.{name}", "is not a resource of a container", f"Use {known}.")


def _check_cores(amount: float, number: str, suffix: str, value: Any, subject: str) -> str | None:
    if suffix in BINARY or suffix in DECIMAL:
        raise _wrong(
            subject,
            f"{value} is not an amount of processors: {suffix} counts bytes",
            f"Use {number}m (millicores)." if suffix[0] == "M" else f"Use {number} (cores), or give {value} as memory.",
        )
    if amount >= MAX_CORES:
        raise _wrong(subject, f"{value} is {amount:g} cores, more than any node has", f"Use {amount:g}m.")
    if amount >= MANY_CORES:
        return f"{subject}: {value} is {amount:g} whole cores; {amount:g}m is {amount / 1000:g} of a core"
    return None


def _check_bytes(resource: str, amount: float, number: str, suffix: str, value: Any, subject: str) -> None:
    if suffix in FRACTIONS:
        raise _wrong(subject, f"{value} of {resource} is {amount:g} bytes: m means thousandths", f"Use {number}Mi.")
    too_small = 0 < amount < MIN_MEMORY_BYTES and (resource == "memory" or not suffix)
    if too_small:
        raise _wrong(subject, f"{value} of {resource} is {amount:g} bytes: its unit is missing", f"Use {number}Mi.")


def _parts(value: Any) -> tuple[str, str]:
    match = QUANTITY.fullmatch(str(value))
    return (match[1], match[3] or "") if match else ("", "")


def _spelling(resource: str, value: Any) -> str:
    """The amount as Kubernetes writes it, or an example."""
    example = "500m or 2" if resource == "cpu" else "512Mi or 1Gi" if resource in BYTE_RESOURCES else "1"
    match = LOOSE.fullmatch(str(value).strip())
    if not match:
        return f"e.g. {example}"
    number, unit = match[1].replace(",", "."), match[2].lower()
    if resource == "cpu":
        return number if unit in ("", "c", "core", "cores", "cpu", "cpus", "vcpu", "vcpus") else f"e.g. {example}"
    if resource in BYTE_RESOURCES and unit[:1] in tuple("kmgtpe"):
        return f"{number}{unit[0].upper()}i"
    return f"e.g. {example}"


def _wrong(subject: str, problem: str, remedy: str) -> errors.InvalidInput:
    return errors.InvalidInput(f"{subject}: {problem}", subject=subject, remedy=remedy)


def parse_quantity(text: str) -> float:
    """A positive quantity of a form: cores for cpu, bytes for memory. ValueError for anything else."""
    match = FORM_QUANTITY.fullmatch(text.strip())
    if not match or not float(match[1]):
        raise ValueError(f"{text!r} is not an amount such as 500m or 2 (cpu), 512Mi or 1Gi (memory)")
    return float(match[1]) * SUFFIXES[match[2]]


def _validate_quantity(resource: str, value: Any) -> str:
    """ValueError with the spelling that was probably meant when the amount is of another dimension (500m of memory)."""
    parse_quantity(str(value))
    try:
        check_amount(resource, value, "")
    except errors.InvalidInput as error:
        raise ValueError(str(error).removeprefix(": ")) from None
    return str(value)


CpuQuantity = Annotated[str, BeforeValidator(partial(_validate_quantity, "cpu"))]
MemoryQuantity = Annotated[str, BeforeValidator(partial(_validate_quantity, "memory"))]
