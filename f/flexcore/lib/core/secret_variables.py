# requirements: flexcore_base
"""Secret environment of a remote program, as {NAME: value}. Pure; a value never appears in an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_secret_env(value: Any) -> dict[str, str]:
    """The mapping when every name can be an environment variable and every value is text; ValueError that names the
    wrong one otherwise."""
    if not isinstance(value, Mapping):
        raise ValueError("write it as {NAME: value}, the value as $var:path of a Windmill variable")
    for name, item in value.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError("a name is no environment variable: use letters, digits and _, and no digit first")
        if not isinstance(item, str) or "\0" in item:
            raise ValueError(f"{name} is not text")
    return dict(value)


SecretEnv = Annotated[dict[str, SecretStr], BeforeValidator(check_secret_env)]
