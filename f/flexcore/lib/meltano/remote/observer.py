# requirements: flexcore_base
"""Runs Meltano's command line and observes it: which streams and columns pass, lines that are no Singer message and who
printed them, what a discovery printed, whether a selection has an effect. What must not go on is refused at once.

Runs in Meltano's own Python, from a copy of this file and of those that it imports. Each finding is a line of JSON
`{"flexcore": KIND, …}` between Meltano's own log lines (kinds: run_log.py). Meltano has no hooks for this: five of
its functions are wrapped, of the one version that installation.py installs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from f.flexcore.lib.meltano.remote import (
    selection,
    singer,
)

# A catalog of a large database has megabytes; what explains a broken one is at its beginning.
MAX_HEAD_BYTES = 4000
CHUNK_BYTES = 1 << 16
CATALOG_REMEDY = (
    "A discovery prints its catalog and nothing else to standard output, and its log to standard error: see what "
    "`meltano invoke {} --discover` prints."
)


def run_observed(arguments: Sequence[str]) -> None:
    """arguments: the taps whose selection comes with the request (JSON: tap → its patterns that all taps share),
    then Meltano's own."""
    observer = Observer(json.loads(arguments[0]))
    sys.argv = ["meltano", *arguments[1:]]
    command = import_module("meltano.cli").main
    observer.install()
    sys.exit(command())


def report(kind: str, content: Mapping[str, Any]) -> None:
    sys.stderr.write(json.dumps({"flexcore": kind, **content}) + "\n")
    sys.stderr.flush()


class Observer:
    """requested: tap → patterns of the request that hold for every tap of the run, which may match in another one."""

    def __init__(self, requested: Mapping[str, Sequence[str]]) -> None:
        self.requested = requested
        self.unselected: dict[str, frozenset[str]] = {}
        # Patterns for every tap that have matched in none so far.
        self.unmatched: dict[str, selection.Finding] = {}
        self.matched: set[str] = set()
        self.pending = list(requested)
        self.watches: list[singer.ProducerWatch | singer.ConsumerWatch] = []
        self.discovered = Head()
        self.plugin_error: type[Exception] = Exception

    def install(self) -> None:
        blocks = import_module("meltano.core.block.extract_load").ExtractLoadBlocks
        module = import_module("meltano.core.plugin.singer.tap")
        self.plugin_error = import_module("meltano.core.plugin.error").PluginExecutionError
        self._watch_blocks(blocks)
        self._watch_discovery(module)
        self._watch_selection(module.SingerTap)

    def _watch_blocks(self, blocks: Any) -> None:
        link, execute = blocks._link_io, blocks.execute

        async def link_io(these: Any) -> None:
            await link(these)
            self.watch(these.blocks)

        async def run(these: Any) -> None:
            failed = True
            try:
                await execute(these)
                failed = False
            finally:
                for watch in self.watches:
                    watch.report_end(failed)
                self.watches = []

        blocks._link_io, blocks.execute = link_io, run

    def watch(self, blocks: Sequence[Any]) -> None:
        tap = blocks[0].string_id
        for number, block in enumerate(blocks):
            report_for_tap = make_reporter(tap)
            watch: singer.ProducerWatch | singer.ConsumerWatch
            if block is blocks[-1]:
                watch = singer.ConsumerWatch(block.string_id, report_for_tap)
            else:
                watch = singer.ProducerWatch(
                    block.string_id, report_for_tap, last=block is blocks[-2], first=number == 0
                )
                if number == 0:
                    watch.unselected, watch.strict = self.unselected.get(tap, frozenset()), tap in self.requested
            # Before the next plugin gets the line.
            block.outputs.insert(0, GuardedWatch(watch, report_for_tap))
            self.watches.append(watch)

    def _watch_discovery(self, module: Any) -> None:
        get_catalog = module.SingerTap._get_catalog

        async def stream_redirect(stream: Any, *files: Any, **_: Any) -> None:
            # Meltano reads by lines of at most 64 KiB, and ends at a larger catalog in one line.
            while data := await stream.read(CHUNK_BYTES):
                for file in (*files, self.discovered):
                    file.write(data)

        async def get_checked_catalog(tap: Any, invoker: Any) -> Any:
            self.discovered.clear()
            try:
                path = await get_catalog(tap, invoker)
            except self.plugin_error:
                if self.discovered.text:
                    report("discovery", {"tap": invoker.plugin.name, "printed": singer.quote(self.discovered.text)})
                raise
            self.check_catalog(invoker, path)
            return path

        module._stream_redirect, module.SingerTap._get_catalog = stream_redirect, get_checked_catalog

    def check_catalog(self, invoker: Any, path: Path) -> None:
        """Raises when what was discovered, or given as a file, is no catalog; it is then removed."""
        name, own = invoker.plugin.name, invoker.plugin_config_extras["_catalog"]
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        if problem := singer.find_catalog_problem(text):
            path.unlink()
            invoker.files["catalog_cache_key"].unlink(missing_ok=True)
            place = f"{name}: the catalog file {own} holds" if own else f"The discovery of {name} printed"
            raise self.refusal(f"{place} {problem}", CATALOG_REMEDY.format(name), name, "extractor_failed")
        if not json.loads(text)["streams"]:
            report("warning", {"text": f"The {'catalog file' if own else 'discovery'} of {name} has no stream"})

    def _watch_selection(self, tap_class: Any) -> None:
        apply = tap_class.apply_catalog_rules

        async def apply_catalog_rules(tap: Any, invoker: Any, exec_args: tuple[str, ...] = ()) -> None:
            path = invoker.files["catalog"]
            self.check_selection(invoker, read_catalog(path))
            await apply(tap, invoker, exec_args)
            self.unselected[invoker.plugin.name] = selection.list_unselected(read_catalog(path))

        tap_class.apply_catalog_rules = apply_catalog_rules

    def check_selection(self, invoker: Any, catalog: Any) -> None:
        """Raises when a selection of the request has no effect; reports one of the project."""
        name, extras, capabilities = invoker.plugin.name, invoker.plugin_config_extras, invoker.capabilities
        if catalog is None and "catalog" in capabilities and "discover" not in capabilities and not extras["_catalog"]:
            problem = f"{name} takes a catalog, and there is none: its capabilities lack discover, and no file is given"
            remedy = f"Add discover to the capabilities of {name}, or name a file with `catalog: FILE`."
            raise self.refusal(problem, remedy, name)
        found = selection.find_problems(name, extras, capabilities, catalog)
        mine = [item for item in found if name in self.requested and item.extra.startswith("select")]
        for item in found:
            if item not in mine:
                report("warning", {"text": f"{item.problem}. {item.remedy}"})
        if name in self.requested and (failed := self.find_failed_rules(name, mine)):
            raise self.refusal(" and ".join(item.problem for item in failed), failed[0].remedy, "select")

    def find_failed_rules(self, tap: str, found: Sequence[selection.Finding]) -> list[selection.Finding]:
        """Of a request's rules those that are known to have no effect: its own, and at the last tap those for all."""
        shared = self.requested[tap]
        without = {item.rule: item for item in found if item.rule in shared}
        self.matched.update(set(shared) - set(without))
        self.unmatched |= without
        self.pending.remove(tap)
        late = [item for rule, item in self.unmatched.items() if rule not in self.matched and not self.pending]
        return [item for item in found if item.rule not in shared] or late

    def refusal(self, message: str, remedy: str, subject: str, category: str = "invalid_input") -> Exception:
        report("refused", {"message": message, "remedy": remedy, "subject": subject, "category": category})
        return self.plugin_error(message)


class GuardedWatch:
    """A watch as Meltano's output writer: a refusal is reported before it ends the run."""

    def __init__(self, watch: singer.ProducerWatch | singer.ConsumerWatch, report_for_tap: Any) -> None:
        self.watch, self.report_for_tap = watch, report_for_tap

    def writeline(self, line: str) -> None:
        try:
            self.watch.writeline(line)
        except singer.LineRefused as refused:
            content = {"message": str(refused), "remedy": refused.remedy, "subject": self.watch.plugin}
            self.report_for_tap("refused", {**content, "category": "extractor_failed"})
            raise


class Head:
    """Keeps the beginning of what is written to it."""

    def __init__(self) -> None:
        self.content = b""

    def clear(self) -> None:
        self.content = b""

    def write(self, data: bytes) -> None:
        if len(self.content) < MAX_HEAD_BYTES:
            self.content += data

    @property
    def text(self) -> str:
        return self.content[:MAX_HEAD_BYTES].decode(errors="replace").strip()


def make_reporter(tap: str) -> Any:
    return lambda kind, content: report(kind, {"tap": tap, **content})


def read_catalog(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
