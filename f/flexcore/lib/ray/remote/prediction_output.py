# requirements: flexcore_base
"""The output of a batch inference in the store: parts first, and a manifest last that makes them an output. Shipped as
source.

    <execution key>/predictions/parts/…         files that nobody reads yet
    <execution key>/predictions/checkpoint/…    which rows are in them (see prediction_resume)
    <execution key>/predictions/manifest.json   the files that are the output, with their checksums; written at once

Whatever is killed at whatever moment, a reader finds a whole output or none; the execution's next attempt goes on, or
begins anew. What another execution has published is never touched.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]
# What makes two runs the same work: a resume of anything else would mix two outputs.
SAME = ("source", "model", "keep", "format", "id_column")


class Output:
    """folder: of this attempt in the store, below that of its execution. parts: URI of the files."""

    def __init__(self, store: shared_storage.RemoteStore, folder: str, parameters: Json) -> None:
        self.store, self.form = store, parameters["format"]
        self.uri = f"{folder.rsplit('/', 1)[0]}/predictions"
        self.parts, self.checkpoint = f"{self.uri}/parts", f"{self.uri}/checkpoint"
        wanted = {name: parameters[name] for name in SAME}
        self.fingerprint = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()

    def find_published(self) -> Json | None:
        """What an earlier attempt of this execution has published of the same work, verified; None when there is
        nothing."""
        manifest = self.read("manifest.json")
        if not manifest or manifest["fingerprint"] != self.fingerprint:
            return None
        self.store.verify(self.parts, manifest["output"]["files"])
        return dict(manifest["output"])

    def publish(self, rows: int, columns: Json, notes: list[str], resumed_rows: int) -> Json:
        """The output once its files hold as many rows as came in. Raises DataError when they do not."""
        files = list_files(self.store, self.parts)
        written = sum(count_rows(self.store, f"{self.parts}/{item['path']}", self.form) for item in files)
        if written != rows:
            raise shared_storage.Problem(
                "DataError",
                f"{written} predictions were written for {rows} rows; nothing is published",
                self.uri,
                "Run the step again; when it stays so, report this.",
            )
        output = {
            "uri": self.parts,
            "format": self.form,
            "rows": rows,
            "columns": columns,
            "files": files,
            "notes": notes,
            "resumed_rows": resumed_rows,
        }
        manifest = {"fingerprint": self.fingerprint, "output": output}
        self.store.write_file(f"{self.uri}/manifest.json", json.dumps(manifest).encode())
        delete_folder(self.store, self.checkpoint)
        return output

    def clear(self) -> None:
        """Takes away what an attempt that did not publish has left."""
        delete_folder(self.store, self.parts)
        delete_folder(self.store, self.checkpoint)

    def read(self, name: str) -> Json | None:
        try:
            return dict(self.store.read_json(f"{self.uri}/{name}"))
        except FileNotFoundError:
            return None
        except ValueError:
            # Cut off while it was written, by a store that is not atomic: the same as none.
            return None


def list_files(store: shared_storage.RemoteStore, uri: str) -> list[Json]:
    """What lies in the folder, as a manifest lists it."""
    from pyarrow.fs import FileSelector, FileType

    folder = store.path(uri)
    files = []
    for info in store.fs.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True)):
        if info.type == FileType.File:
            name = posixpath.relpath(info.path, folder)
            files.append({"path": name, "bytes": info.size, "checksum": store.checksum(f"{uri}/{name}")})
    return sorted(files, key=lambda item: str(item["path"]))


def count_rows(store: shared_storage.RemoteStore, uri: str, form: str) -> int:
    """The rows of a file, as a reader finds them."""
    path = store.path(uri)
    if form == "parquet":
        import pyarrow.parquet

        with store.fs.open_input_file(path) as stream:
            return int(pyarrow.parquet.ParquetFile(stream).metadata.num_rows)
    if form == "csv":
        import pyarrow.csv

        with store.fs.open_input_stream(path) as stream:
            options = pyarrow.csv.ParseOptions(newlines_in_values=True)
            return sum(batch.num_rows for batch in pyarrow.csv.open_csv(stream, parse_options=options))
    count, last = 0, b"\n"
    with store.fs.open_input_stream(path) as stream:
        while block := stream.read(shared_storage.CHUNK_BYTES):
            count, last = count + block.count(b"\n"), block
    return count + (not last.endswith(b"\n"))


def delete_folder(store: shared_storage.RemoteStore, uri: str) -> None:
    from pyarrow.fs import FileType

    path = store.path(uri)
    if store.fs.get_file_info(path).type == FileType.Directory:
        store.fs.delete_dir(path)
