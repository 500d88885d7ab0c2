# requirements: flexcore_base
"""A job's files as the package that Ray unpacks into the job's working folder; named by their content. Pure."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping

# The same files give the same bytes, whenever they are packed.
EPOCH = (1980, 1, 1, 0, 0, 0)


def package(files: Mapping[str, str]) -> tuple[str, bytes]:
    """(name, zip) of text files by their names. The name's form is Ray's: ray/_private/runtime_env/packaging.py."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED)
    content = buffer.getvalue()
    return f"_ray_pkg_{hashlib.sha1(content, usedforsecurity=False).hexdigest()}.zip", content
