"""A disk that is full while a model is stored: named, and nothing of it under its name."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from f.flexcore.lib.ray.remote import external_memory, shared_storage
from tests.ray.test_external_memory import plan_of


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"), True),
        (OSError("When completing multiple part upload: AWS Error UNKNOWN (HTTP status 507): XMinioStorageFull"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("max_depth"), False),
    ],
)
def test_a_full_disk_is_told_apart(error: Exception, full: bool) -> None:
    assert shared_storage.is_disk_full(error) is full
    problem = shared_storage.disk_problem(error, "storing the model", "/tmp/x")
    assert isinstance(problem, shared_storage.Problem) is full
    if full:
        assert str(problem) == "A disk was full while storing the model (folder /tmp/x): nothing of it counts"
        assert isinstance(problem, shared_storage.Problem) and problem.flexcore["remedy"].startswith("Free space there")


def test_a_file_that_is_cut_off_is_not_there_under_its_name(tmp_path: Path) -> None:
    store = shared_storage.RemoteStore({"uri": f"file://{tmp_path}"})

    def blocks() -> Iterator[bytes]:
        yield b"the first half"
        raise OSError(errno.ENOSPC, "No space left on device")

    store.write_json(f"file://{tmp_path}/trained.json", {"old": True})
    with pytest.raises(shared_storage.Problem, match="A disk was full while writing to the store"):
        store._write(f"file://{tmp_path}/trained.json", blocks())
    assert store.read_json(f"file://{tmp_path}/trained.json") == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == ["trained.json"]


def test_a_folder_is_stored_with_its_checksums(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.bin").write_bytes(b"x" * (3 << 20))
    store = shared_storage.RemoteStore({"uri": f"file://{tmp_path}"})
    (file,) = store.upload(folder, f"file://{tmp_path}/model")
    assert (file["path"], file["bytes"]) == ("deep/a.bin", 3 << 20)
    assert store.checksum(f"file://{tmp_path}/model/deep/a.bin") == file["checksum"]


def test_a_cache_that_fills_the_disk_says_so_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(shared_storage.Problem, match="A disk was full while caching the rows"):  # noqa: SIM117
        with external_memory.open_cache(plan_of(1000), 1000, 1 << 20) as cache:
            (cache.folder / "x0.npy").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []
