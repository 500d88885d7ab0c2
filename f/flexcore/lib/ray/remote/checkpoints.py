# requirements: flexcore_base
"""Generations of a training and their checkpoints in the store. Shipped as source.

Each run of a training is a generation with a folder of its own, below that of its execution:

    <key>/<generation>/claims/<token>.json   whose generation it is: of the run that is alone there, or of none
    <key>/<generation>/began.json            that it has begun: a head that does not know its job has lost it
    <key>/<generation>/ray_train/train/…     its checkpoints; checkpoint.json makes one of them whole
    <key>/<generation>/trained.json          its result, written last: the model is published by it

A run never writes outside its folder, so that one that lives on when a newer has begun (its head was cut off) spoils
nothing of it, whatever their order; it ends itself at its next checkpoint, and before it publishes.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from f.flexcore.lib.ray.remote import shared_storage

Json = dict[str, Any]
STATE_FILE = "checkpoint.json"
RUN_NAME = "train"
# Ray Train deletes older ones; the last but one is there for when the last turns out to be damaged.
KEPT_CHECKPOINTS = 2
MAX_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its folder, its generation, and its `state` (fingerprint, step, what the learner keeps)."""

    uri: str
    generation: int | None
    state: Json

    @property
    def step(self) -> int:
        """Rounds of boosting, or the number of reports of a loop, that it holds."""
        return int(self.state["step"])


class Generation:
    """This run's own folder, and those of the runs before and after it. Raises Problem."""

    def __init__(self, store: shared_storage.RemoteStore, folder: str) -> None:
        self.store, self.folder = store, folder
        self.root, _, number = folder.rpartition("/")
        self.number = int(number)

    def uri(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def claim(self) -> None:
        """Makes this generation this run's own. Two runs of one name can meet when a job is submitted to a new head
        while the old one still starts it: who finds another's claim gives way, so that never both go on."""
        token = uuid.uuid4().hex
        self.write("claims", f"{token}.json", {"at": time.time()})
        others = [name for name in self._list("claims") if name != f"{token}.json"]
        if others:
            raise shared_storage.Problem(
                "Unavailable",
                f"Another run of this job has begun already (generation {self.number} of {self.root})",
                "execution",
                "Run the step again: its next attempt is a generation of its own.",
            )
        self.write("", "began.json", {"token": token, "at": time.time()})

    def check_current(self) -> None:
        """Raises Conflict when a newer generation has begun: what this one does is nobody's any more."""
        newer = [number for number in self._numbers() if number > self.number and self._has_begun(number)]
        if newer:
            raise shared_storage.Problem(
                "Conflict",
                f"Generation {max(newer)} has taken this training over from generation {self.number}",
                "execution",
                "Nothing is to be done: the newer run has the result.",
            )

    def find_published(self, fingerprint: Json) -> Json | None:
        """The result of an earlier generation of the same training, when its files are all there as it says."""
        for number in self._numbers(self.number):
            result = self._read(f"{self.root}/{number}/trained.json")
            if result and result.get("fingerprint") == fingerprint and self._is_whole(result["manifest"]):
                return result
        return None

    def has_published(self) -> bool:
        """Whether this generation's result is there already."""
        return self._read(self.uri("trained.json")) is not None

    def find_checkpoint(self, fingerprint: Json, report: Callable[[str], None] = print) -> Checkpoint | None:
        """The newest whole checkpoint of the generations before this one."""
        for number in self._numbers(self.number - 1):
            for item in find_whole(self.store, f"{self.root}/{number}", number):
                differences = list_differences(item.state["fingerprint"], fingerprint)
                if not differences:
                    return item
                report(f"Note: the checkpoint {item.uri} is not used: {'; '.join(differences)}")
                break
        return None

    def read_problem(self) -> shared_storage.Problem | None:
        """Why workers of this generation ended, when another try would end in the same way."""
        found = self._read(self.uri("problem.json"))
        if found is None:
            return None
        details = found.pop("details", None) or {}
        return shared_storage.Problem(
            found["type"], found["message"], found.get("subject", ""), found.get("remedy", ""), **details
        )

    def write_problem(self, problem: shared_storage.Problem) -> None:
        self.write("", "problem.json", problem.flexcore)

    def write_event(self, name: str, fields: Json) -> None:
        """Notes an interruption; the same name twice is the same one."""
        self.write("events", f"{name}.json", fields)

    def count_events(self, prefix: str) -> int:
        """How many interruptions of a kind all generations have had."""
        folders = [f"{self.root}/{number}" for number in self._numbers()]
        return sum(name.startswith(prefix) for folder in folders for name in self._list("events", folder))

    def write(self, folder: str, name: str, value: Any) -> None:
        """Writes JSON below this generation's folder."""
        uri = f"{self.folder}/{folder}" if folder else self.folder
        if self.store.local:
            self.store.fs.create_dir(self.store.path(uri), recursive=True)
        self.store.write_json(f"{uri}/{name}", value)

    def read_all(self, folder: str) -> list[Json]:
        """The JSON in a folder of all generations, the newest generation's last."""
        uris = [f"{self.root}/{number}/{folder}" for number in reversed(self._numbers())]
        found = (self._read(f"{uri}/{name}") for uri in uris for name in list_names(self.store, uri))
        return [item for item in found if item is not None]

    def _read(self, uri: str) -> Json | None:
        return read_json_if_whole(self.store, uri)

    def _has_begun(self, number: int) -> bool:
        return bool(self._list("claims", f"{self.root}/{number}"))

    def _numbers(self, at_most: int | None = None) -> list[int]:
        """The generations that have a folder, the newest first."""
        numbers = sorted((int(name) for name in list_names(self.store, self.root) if name.isdigit()), reverse=True)
        return [number for number in numbers if at_most is None or number <= at_most]

    def _list(self, name: str, folder: str = "") -> list[str]:
        return list_names(self.store, f"{folder or self.folder}/{name}")

    def _is_whole(self, manifest: Json) -> bool:
        return all(
            self.store.checksum(f"{manifest['uri']}/{item['path']}") == item["checksum"] for item in manifest["files"]
        )


def find_given(store: shared_storage.RemoteStore, uri: str, fingerprint: Json) -> Checkpoint:
    """The newest whole checkpoint of the training at `uri`, which the request names: an execution's folder, or a
    generation's. Raises InvalidInput, NotFound, or Conflict when it is of another training."""
    subject = "resume_from"
    if not uri.startswith(f"{store.storage['uri'].rstrip('/')}/"):
        raise shared_storage.Problem(
            "InvalidInput",
            f"{uri} is not in the store {store.storage['uri']}",
            subject,
            "Give data.recovery.checkpoints of a training of this store.",
        )
    uri = uri.rstrip("/")
    numbers = sorted((int(name) for name in list_names(store, uri) if name.isdigit()), reverse=True)
    folders: list[tuple[int | None, str]] = [(number, f"{uri}/{number}") for number in numbers] or [(None, uri)]
    found = next((item for number, folder in folders for item in find_whole(store, folder, number)), None)
    if found is None:
        raise shared_storage.Problem(
            "NotFound", f"No whole checkpoint is at {uri}", subject, "Leave it empty to train from the beginning."
        )
    differences = list_differences(found.state["fingerprint"], fingerprint)
    if differences:
        raise shared_storage.Problem(
            "Conflict",
            f"The checkpoint at {uri} is of another training: {'; '.join(differences)}",
            subject,
            "Ask for the same training as then, or leave it empty to train from the beginning.",
        )
    return found


def find_whole(store: shared_storage.RemoteStore, folder: str, generation: int | None) -> Iterator[Checkpoint]:
    """The whole checkpoints of a generation, the last first; one that was cut off, or damaged since, is none."""
    base = f"{folder}/ray_train/{RUN_NAME}"
    items = []
    # Ray Train keeps files of its own beside them.
    for name in list_names(store, base, folders_only=True):
        state = read_json_if_whole(store, f"{base}/{name}/{STATE_FILE}")
        if state and {"fingerprint", "step", "files"} <= state.keys():
            items.append(Checkpoint(f"{base}/{name}", generation, state))
    for item in sorted(items, key=lambda item: item.step, reverse=True):
        files = item.state["files"]
        if all(store.checksum(f"{item.uri}/{file['path']}") == file["checksum"] for file in files):
            yield item


def write_state(folder: Path, fingerprint: Json, step: int, fields: Json) -> None:
    """Makes a folder with a learner's files a whole checkpoint: the state lists them with their checksums."""
    files = [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "checksum": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}",
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != STATE_FILE
    ]
    state = {"fingerprint": fingerprint, "step": step, "files": files, **fields}
    (folder / STATE_FILE).write_text(json.dumps(state))


def digest(value: Any) -> str:
    """A hash of any JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:20]


def list_differences(there: Json, here: Json) -> list[str]:
    """In words, each part in which two fingerprints differ."""
    return [
        f"{name} is {show_part(there.get(name))} there and {show_part(here.get(name))} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]


def show_part(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"


def list_names(store: shared_storage.RemoteStore, uri: str, folders_only: bool = False) -> list[str]:
    """The names in a folder of the store; none when it is not there."""
    from pyarrow.fs import FileSelector, FileType

    found = store.fs.get_file_info(FileSelector(store.path(uri), allow_not_found=True, recursive=False))
    return sorted(item.base_name for item in found if not folders_only or item.type == FileType.Directory)


def read_json_if_whole(store: shared_storage.RemoteStore, uri: str) -> Json | None:
    """None for a file that is not there, or was cut off."""
    try:
        value = store.read_json(uri)
    except (FileNotFoundError, ValueError):
        return None
    except OSError as error:
        if "404" in str(error) or "NO_SUCH_KEY" in str(error):
            return None
        raise
    return value if isinstance(value, dict) else None
