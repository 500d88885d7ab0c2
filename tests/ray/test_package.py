from __future__ import annotations

import io
import zipfile

from f.flexcore.lib.ray.job import zip_files


def test_the_name_is_made_of_the_content() -> None:
    first, again, other = (
        zip_files({"a": "1", "b": "2"}),
        zip_files({"b": "2", "a": "1"}),
        zip_files({"a": "2", "b": "2"}),
    )
    assert first == again
    assert first[0] != other[0]
    assert first[0].startswith("_ray_pkg_") and first[0].endswith(".zip")


def test_the_files_come_out_as_they_went_in() -> None:
    files = {"f/x.py": "print('ä')", "request.json": "{}"}
    with zipfile.ZipFile(io.BytesIO(zip_files(files)[1])) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == files
