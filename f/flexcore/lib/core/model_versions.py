# requirements: flexcore_base
"""Whether the versions at hand can serve a model that was trained with others. Pure; also shipped as source, so it
needs the standard library alone (Python 3.9 or later).

RULES: for each format and distribution what is compatible and what the rest means.

    minor       the same major and minor version       scikit-learn promises nothing between its minor versions
    major       the same major version
    not_older   the same minor version or a newer one  boosters and skops read what their older versions wrote
    refuse      nothing is started                     warn   it is started, and said

Sources: scikit-learn, Model persistence; XGBoost, Introduction to Model IO; LightGBM, Booster.save_model; NumPy 2.0
migration guide (pickles of 2.x name numpy._core, which 1.x lacks); skops.io, protocol versions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

# Distribution → (what is compatible, what the rest means).
Rules = dict[str, "tuple[str, str]"]
# Their columns are built anew by our own code, so scikit-learn only has to be of the same kind.
BOOSTER_COLUMNS: Rules = {"scikit-learn": ("major", "warn"), "pandas": ("not_older_major", "warn")}
RULES: dict[str, Rules] = {
    "xgboost-ubj": {"xgboost": ("not_older", "refuse"), **BOOSTER_COLUMNS},
    "lightgbm-txt": {"lightgbm": ("not_older", "refuse"), **BOOSTER_COLUMNS},
    "sklearn-skops": {
        "scikit-learn": ("minor", "refuse"),
        "skops": ("not_older", "refuse"),
        "numpy": ("major", "warn"),
        "pandas": ("not_older_major", "warn"),
    },
    "sklearn-joblib": {
        "scikit-learn": ("minor", "refuse"),
        "xgboost": ("minor", "refuse"),
        "lightgbm": ("minor", "refuse"),
        "numpy": ("major", "refuse"),
        "pandas": ("major", "warn"),
        "scipy": ("major", "warn"),
        "joblib": ("not_older", "warn"),
        "python": ("minor", "warn"),
    },
}
# Distributions that bring the same module under another name.
TWINS = {"xgboost": ("xgboost-cpu",)}
NUMBER = re.compile(r"(\d+)(?:\.(\d+))?")


class Mismatch(NamedTuple):
    """A version that is not compatible. served: None when the distribution is absent, which is always refused."""

    package: str
    trained: str
    served: str | None
    refused: bool

    @property
    def message(self) -> str:
        served = f"{self.package} {self.served}" if self.served else f"no {self.package}"
        return f"the model was trained with {self.package} {self.trained}, and here is {served}"


def compare_versions(form: str, trained: Mapping[str, str], served: Mapping[str, str | None]) -> list[Mismatch]:
    """What is not compatible, refused ones first. trained: as the model's manifest has it; served: what is here, by the
    same names. A distribution that the manifest does not name is not judged: the model may not need it."""
    found = []
    for package, (compatible, rest) in RULES.get(form, {}).items():
        wanted, here = trained.get(package), served.get(package)
        if wanted is None:
            continue
        if here is None:
            found.append(Mismatch(package, wanted, None, True))
        elif not is_compatible(compatible, wanted, here):
            found.append(Mismatch(package, wanted, here, rest == "refuse"))
    return sorted(found, key=lambda item: not item.refused)


def is_compatible(rule: str, trained: str, served: str) -> bool:
    """A version that is no number (a build of one's own) is only compatible with itself."""
    old, new = parse_version(trained), parse_version(served)
    if old is None or new is None:
        return trained == served
    return {
        "minor": new == old,
        "major": new[0] == old[0],
        "not_older": new >= old,
        "not_older_major": new[0] >= old[0],
    }[rule]


def parse_version(text: str) -> tuple[int, int] | None:
    """(major, minor) of a version."""
    match = NUMBER.match(text)
    return (int(match[1]), int(match[2] or 0)) if match else None


def list_relevant(form: str, trained: Mapping[str, str]) -> list[str]:
    """The distributions that are compared for a model of this format."""
    return [package for package in RULES.get(form, {}) if package in trained]


def trained_versions(versions: Mapping[str, str], framework: Mapping[str, str]) -> dict[str, str]:
    """What a model was trained with by its manifest; an older one names its framework alone."""
    return dict(versions) or {framework["name"].removesuffix("-cpu"): framework["version"]}


def installed_versions(packages: list[str]) -> dict[str, str | None]:
    """What this Python has of these distributions."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for package in packages:
        found[package] = platform.python_version() if package == "python" else None
        for name in (package, *TWINS.get(package, ())):
            if found[package] is None:
                try:
                    found[package] = version(name)
                except PackageNotFoundError:
                    continue
    return found


def describe_refusal(model: str, refused: list[Mismatch]) -> tuple[str, str]:
    """(message, remedy) for versions that cannot serve the model."""
    pins = " ".join(f"{item.package}=={item.trained}" for item in refused)
    reasons = "; ".join(item.message for item in refused)
    return f"{model} cannot be served: {reasons}", f"Serve it with {pins}, or train it again with what is here."
