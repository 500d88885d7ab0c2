# requirements: flexcore_base
"""Why a job's packages or its Ray do not fit the cluster, read from what uv, pip and Ray say. Pure.

    package_not_found   an index has no such package, or no such version
    version_mismatch    a package needs another Python or another package's version, or brings another Ray
    index_unreachable   no index answered
    disk_full           the node has no room for the packages
What none of these fits is told by the job's own error type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from f.flexcore.lib.core import contracts

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}"
REQUIREMENT = rf"{NAME}(?:\[[^\]]{{0,100}}\])?(?: ?[=<>!~]=?[^ ,;)]{{1,40}})?"
MAX_DETAIL_CHARACTERS = 500
# uv wraps its sentences to a terminal's width and, by its version, draws a tree before them.
WRAP = re.compile(r"[\s│╰├─▶\u00d7]+")


@dataclass(frozen=True, slots=True)
class Sign:
    """A line that tells the problem; the pattern's group `what` names the package. The first sign that fits counts."""

    category: str
    pattern: re.Pattern[str]
    detail: str
    remedy: str


FIND_VERSIONS = "Correct its name or version in packages; a private one needs the index that the head's pip.conf names."
OTHER_VERSION = "Choose a version that fits the cluster's Python and its other packages, or another cluster."
# What Ray itself says when a program joins a cluster of another version: ray/_private/utils.py, check_version_info.
MISMATCH = Sign(
    "version_mismatch",
    re.compile(r"(?P<what>Version mismatch: The cluster was started with:.{0,300})", re.S),
    "The job's Ray or Python is not the cluster's: {what}",
    "Leave ray, and what brings another Ray, out of packages: the job uses the cluster's own.",
)
# In the order in which they are looked for.
SIGNS = (
    Sign(
        "version_mismatch",
        re.compile(rf"(?P<what>{REQUIREMENT}) (?:depends on|requires|needs) (?:a different )?Python ?[:=<>!~]", re.I),
        "{what} does not run on the cluster's Python",
        OTHER_VERSION,
    ),
    Sign(
        "version_mismatch",
        re.compile(rf"Package '(?P<what>{NAME})' requires a different Python"),
        "{what} does not run on the cluster's Python",
        OTHER_VERSION,
    ),
    Sign(
        "package_not_found",
        re.compile(rf"Because (?P<what>{NAME}) was not found in the (?:package registry|provided package locations)"),
        "The package {what} does not exist in the index that the cluster uses",
        FIND_VERSIONS,
    ),
    Sign(
        "package_not_found",
        re.compile(rf"[Bb]ecause there (?:is|are) no versions? of (?P<what>{REQUIREMENT})"),
        "There is no {what} in the index that the cluster uses",
        FIND_VERSIONS,
    ),
    Sign(
        "package_not_found",
        re.compile(rf"No matching distribution found for (?P<what>{REQUIREMENT})"),
        "There is no {what} for the cluster's Python in the index that it uses",
        FIND_VERSIONS,
    ),
    Sign(
        "version_mismatch",
        re.compile(r"(?P<what>ResolutionImpossible|No solution found when resolving dependencies)"),
        "The packages contradict each other or what the cluster has",
        OTHER_VERSION,
    ),
    Sign(
        "index_unreachable",
        re.compile(
            r"(?P<what>Failed to fetch: [^ ]{1,200}|Could not connect to|Temporary failure in name resolution"
            r"|Failed to establish a new connection|[Nn]ame or service not known)"
        ),
        "The cluster does not reach a package index",
        "Let the head reach an index, or use an image that has the packages.",
    ),
    Sign(
        "disk_full",
        re.compile(r"(?P<what>No space left on device)"),
        "The node has no room left for the job's packages",
        "Free space on the node, below Ray's temporary folder.",
    ),
)


def find_problem(message: str) -> contracts.Diagnosis | None:
    """The first problem that the message of a job tells whose environment was not made; None for another one."""
    sentences = WRAP.sub(" ", message)
    found = (_read(sign, sentences) for sign in SIGNS)
    return next((diagnosis for diagnosis in found if diagnosis), None)


def find_mismatch(message: str) -> contracts.Diagnosis | None:
    """Whether a program has failed since its Ray is not the cluster's."""
    return _read(MISMATCH, message)


def _read(sign: Sign, message: str) -> contracts.Diagnosis | None:
    match = sign.pattern.search(message)
    if not match:
        return None
    detail = sign.detail.format(what=" ".join(match["what"].split()))
    return contracts.Diagnosis(category=sign.category, detail=detail[:MAX_DETAIL_CHARACTERS], remedy=sign.remedy)
