from __future__ import annotations

import io
import zipfile

from f.flexcore.lib.ray.package import package


def test_the_name_is_made_of_the_content() -> None:
    first, again, other = package({"a": "1", "b": "2"}), package({"b": "2", "a": "1"}), package({"a": "2", "b": "2"})
    assert first == again
    assert first[0] != other[0]
    assert first[0].startswith("_ray_pkg_") and first[0].endswith(".zip")


def test_the_files_come_out_as_they_went_in() -> None:
    files = {"f/x.py": "print('ä')", "request.json": "{}"}
    with zipfile.ZipFile(io.BytesIO(package(files)[1])) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
