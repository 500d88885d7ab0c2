# requirements: flexcore_base
"""A cache of what is secret: an entry can be read only by who has all that it was made from.

Its key is derived from that content, which holds the same secrets, so a copy of the folder tells nothing. The keystream
is SHAKE-256 over the key and a nonce, the tag an HMAC: both are of the standard library, and an import of cryptography
would cost each step more than the hash does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any

NONCE = 16
TAG = 32


def read_sealed(folder: Path, content: bytes) -> Any:
    """The value that was written for the content; None when there is none or it was altered."""
    try:
        data = _path(folder, content).read_bytes()
    except OSError:
        return None
    nonce, tag, hidden = data[:NONCE], data[NONCE : NONCE + TAG], data[NONCE + TAG :]
    if not hmac.compare_digest(tag, _tag(content, nonce + hidden)):
        return None
    return json.loads(_mixed(content, nonce, hidden))


def write_sealed(folder: Path, content: bytes, value: Any) -> None:
    """Keeps the value; on a disk that is full or broken it is made again the next time."""
    nonce = os.urandom(NONCE)
    hidden = _mixed(content, nonce, json.dumps(value).encode())
    path = _path(folder, content)
    part = path.with_suffix(f".{os.getpid()}")
    try:
        part.write_bytes(nonce + _tag(content, nonce + hidden) + hidden)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)


def _path(folder: Path, content: bytes) -> Path:
    return folder / f"{hashlib.sha256(b'name' + content).hexdigest()[:32]}.sealed"


def _tag(content: bytes, data: bytes) -> bytes:
    return hmac.digest(hashlib.sha256(b"tag" + content).digest(), data, "sha256")


def _mixed(content: bytes, nonce: bytes, data: bytes) -> bytes:
    stream = hashlib.shake_256(hashlib.sha256(b"key" + content).digest() + nonce).digest(len(data))
    return (int.from_bytes(data) ^ int.from_bytes(stream)).to_bytes(len(data))
