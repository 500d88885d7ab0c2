"""The code of a bundle: its scripts and the inline code of its flows, with what the parsers say of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from wmlocal.formats.layout import INLINE
from wmlocal.lint.arguments import check_inline_arguments
from wmlocal.lint.context import Context
from wmlocal.lint.files import Script
from wmlocal.lint.parsers import NoParsers, Signature, Source, signatures
from wmlocal.lint.positions import Item
from wmlocal.lint.schemas import check_schema, report_unparsable
from wmlocal.lint.steps import Step, steps

_TYPESCRIPT = re.compile(r"\bfunction\s+preprocessor\b|\bpreprocessor\s*[=,}]")
PREPROCESSORS = {
    "python3": re.compile(r"^(?:async\s+)?def\s+preprocessor\b|^(?:from\s.+)?import\s.*\bpreprocessor\b", re.MULTILINE),
    **dict.fromkeys(("bun", "deno", "nativets"), _TYPESCRIPT),
}


@dataclass(frozen=True, slots=True)
class Inline:
    """A rawscript step: its flow's file, and where its code is (empty when it stands in the flow itself)."""

    flow: str
    step: Step
    language: str
    file: str
    content: str

    @property
    def as_script(self) -> Script:
        """For checks of code in a file of its own; its path is below the flow's."""
        return Script(f"{self.flow.rpartition('/')[0]}/{self.step.id}", self.file, self.language)


class Code:
    def __init__(self, context: Context) -> None:
        self.context = context
        # Why signatures were not asked for, when they were not.
        self.not_asked = ""

    @cached_property
    def inline(self) -> list[Inline]:
        found = []
        for entry, document in self.context.entries("flow"):
            for step in steps(document):
                value = step.item.get("value")
                content, language = step.item.text("value", "content"), step.item.text("value", "language")
                if value is None or step.type != "rawscript" or content is None or language is None:
                    continue
                file = ""
                if content.startswith(INLINE):
                    file = f"{entry.file.rpartition('/')[0]}/{content.removeprefix(INLINE).strip()}"
                    content = self.context.files.text(file) if file in self.context.files.set else None
                if content is not None:
                    found.append(Inline(entry.file, step, language, file, content))
        return found

    @cached_property
    def signatures(self) -> dict[str, Signature]:
        """By script file, and for inline code by flow file and step id."""
        files = self.context.files
        sources = [
            Source(script.file, script.language, text, script.path)
            for script in files.scripts.values()
            if (text := files.text(script.file)) is not None
        ]
        sources += [Source(_key(inline), inline.language, inline.content) for inline in self.inline]
        try:
            return signatures(sources, files.root)
        except NoParsers as error:
            self.not_asked = str(error)
            return {}

    def check(self) -> None:
        for script in self.context.files.scripts.values():
            signature = self.signatures.get(script.file)
            document = self.context.documents.get(f"{script.path}.script.yaml")
            if self.context.files.text(script.file) is None:
                self.context.report(script.file, (1, 1), "not-utf8", self.context.files.why_unreadable(script.file))
            elif signature is not None and document is not None:
                check_schema(self.context, script, document, signature)
            elif signature is not None and signature.args is None:
                report_unparsable(self.context, script)
        for inline in self.inline:
            if inline.step.part == "preprocessor" and not inline.step.around:
                self.check_preprocessor(inline.flow, inline.step, inline.content, inline.language)
                continue
            signature = self.signatures.get(_key(inline))
            if signature is not None and signature.args is not None:
                check_inline_arguments(self.context, inline.flow, inline.step, signature)

    def check_main(self, file: str, place: Item, path: str, what: str) -> None:
        """`path` is a script of the bundle that `what` runs."""
        script = self.context.files.scripts.get(path)
        signature = self.signatures.get(script.file) if script else None
        if script is not None and signature is not None and signature.is_library and script.language == "python3":
            message = f"{what} runs {path}, which has no main; write one, or name another script"
            self.context.report(file, place, "no-main", message)

    def check_preprocessor(self, file: str, step: Step, code: str, language: str) -> None:
        """A flow's preprocessor module runs the function of that name, not main."""
        defined = PREPROCESSORS.get(language)
        if defined is not None and not defined.search(code):
            message = "the preprocessor module runs a function called preprocessor, which the code does not define"
            self.context.report(file, step.item, "no-main", f"{message}; write preprocessor(event)")

    def list_arguments(self, path: str) -> list[str] | None:
        """The names that a script's `main` takes, None when it takes any or they are not known."""
        script = self.context.files.scripts.get(path)
        signature = self.signatures.get(script.file) if script else None
        return None if signature is None or signature.args is None or signature.takes_any else signature.names


def _key(inline: Inline) -> str:
    place: Item = inline.step.item
    return f"{inline.flow}:{place.line}:{inline.step.id}"
