# requirements: flexcore_base
# py: ==3.11.*
"""Keeps secrets out of what leaves a step: logs, errors, results, labels.

Two nets: the values that are known to be secret (from resources and secret-looking settings), and patterns for
secrets that a tool prints by itself (URL passwords, bearer tokens, key=value pairs, cloud keys, private keys).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

MASK = "***"
# Shorter values ("1", "dev") would blot out ordinary text.
SHORTEST_SECRET = 4
SECRET_WORD = (
    r"(?:password|passwd|pwd|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credential|authorization)"
)
SECRET_NAME = re.compile(SECRET_WORD, re.IGNORECASE)
PATTERNS = [
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), MASK),
    (re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(@)"), rf"\1{MASK}\2"),
    (re.compile(r"\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), MASK),
    (
        re.compile(
            rf"""(["']?[\w.-]*{SECRET_WORD}[\w.-]*["']?\s*[:=]\s*)("[^"]+"|'[^']+'|[^\s"',;&)\]}}]+)""",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
]


class Redactor:
    """Replaces secrets by `***`, in text and in nested JSON data. Knows the values it was given, in the forms in which
    tools print them (plain, URL-quoted, JSON-escaped, base64)."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        known = {form for secret in secrets if secret for form in _forms(secret) if len(form) >= SHORTEST_SECRET}
        # Longest first, so that a secret which contains another leaves no remainder behind.
        self._known = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True)))) if known else None

    def text(self, text: str) -> str:
        if self._known:
            text = self._known.sub(MASK, text)
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def data(self, value: Any) -> Any:
        """The same shape with every string redacted, and every string under a secret-looking key masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: MASK if _is_secret(key, item) else self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value


def secrets_of(value: Any, key: str = "") -> Iterator[str]:
    """Every string that stands under a secret-looking key anywhere in `value`."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from secrets_of(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secrets_of(item, key)
    elif isinstance(value, str) and value and SECRET_NAME.search(key):
        yield value


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, str) and bool(value) and bool(SECRET_NAME.search(key))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    yield base64.b64encode(secret.encode()).decode()
    # A multi-line secret (a key file) is printed line by line.
    yield from (line for line in secret.splitlines() if len(line) >= 16)
