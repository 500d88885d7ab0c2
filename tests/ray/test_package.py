from __future__ import annotations

import ast
import io
import re
import zipfile

import pytest

from f.flexcore.lib.ray import loop_job, predict_job, search_job, serve_job, serve_release, train_job
from f.flexcore.lib.ray.job import program_files, zip_files

SHIPPED = {"f.flexcore.lib.ray.remote": "ray.remote", "f.flexcore.lib.serving": "serving"}


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


@pytest.mark.parametrize(
    "files",
    [
        program_files(train_job.MODULES, train_job.PROGRAM + train_job.CHECK),
        program_files(search_job.MODULES, search_job.PROGRAM),
        program_files(loop_job.MODULES, loop_job.PROGRAM),
        program_files(predict_job.MODULES, predict_job.PROGRAM),
        program_files(serve_job.MODULES, serve_job.DEPLOY),
        program_files(serve_job.CHANGING, serve_release.UNDEPLOY + serve_release.SET_TRAFFIC_PROGRAM),
    ],
    ids=["train", "search", "training_loop", "predict", "serve", "traffic"],
)
def test_a_program_brings_all_that_it_imports_of_ours_and_nothing_else(files: dict[str, str]) -> None:
    program = files.pop("flexcore_program.py")
    imported = set(re.findall(r"f\.flexcore\.lib\.(ray\.remote\.\w+)", program))
    for source in files.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module in SHIPPED:
                imported |= {f"{SHIPPED[node.module]}.{name.name}" for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not str(node.module).startswith("f."), "it would need more of the bundle than what is shipped"
    assert files.keys() == {f"f/flexcore/lib/{name.replace('.', '/')}.py" for name in imported}
