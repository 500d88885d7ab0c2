"""Data that is larger than a limit, written without ever being in memory as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from f.flexcore.lib.core.contracts import DataManifest, Stream, compute_checksum
from f.flexcore.lib.storage.object_store import file_entry

COLUMNS = 32
GROUP_ROWS = 50_000


def large_manifest(folder: Path, decoded_bytes: int) -> dict[str, Any]:
    """One Parquet file whose features take so many bytes as float64; the target follows from two of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, path, generator = decoded_bytes // (8 * COLUMNS), folder / "rows.parquet", np.random.default_rng(0)
    names = [f"x{number}" for number in range(COLUMNS)]
    schema = pa.schema([*((name, pa.float32()) for name in names), ("y", pa.float64())])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, GROUP_ROWS):
            values = generator.normal(size=(min(GROUP_ROWS, rows - start), COLUMNS)).astype("float32")
            target = 3 * values[:, 0] - 2 * values[:, 1] + 0.1 * generator.normal(size=len(values))
            columns = {name: values[:, number] for number, name in enumerate(names)}
            writer.write_table(pa.table({**columns, "y": target}, schema=schema))
    file = file_entry(path, path.name)
    stream = Stream(name="rows", rows=rows, bytes=file.bytes, columns={}, files=[file])
    manifest = DataManifest(
        uri=f"file://{folder}", format="parquet", streams=[stream], checksum=compute_checksum([file])
    )
    return manifest.plain()
