# requirements: flexcore_base
"""Keeps secrets out of what leaves a step: logs, errors, results, labels.

Two nets: the values that are known to be secret (from resources and secret-looking settings), and patterns for
secrets that a tool prints by itself (URL passwords, bearer tokens, key=value pairs, cloud keys, private keys).

Every pattern is linear in the length of the text: it begins with a word of its own, or where no other match of it can
have begun, and what may follow is bounded or ends where the next one begins. Mask first, then shorten: a secret that
is cut is not recognized.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK = "***"
# Shorter values are masked where they stand as a word alone, and still shorter ones ("1") not at all: they would blot
# out ordinary text.
SHORTEST_SECRET = 4
SHORTEST_WORD = 3
# A line of a secret of many lines may be short and ordinary ("type: x"); a longer one is its own.
SHORTEST_LINE = 16
# Lines of base64 as the tools break it: openssl and PEM, MIME.
BASE64_LINES = (64, 76)
# Lines of a document that say nothing by themselves: `users:`, `type: x`, `- name: x`, `"id": 7,`, `{`.
DOCUMENT_LINE = re.compile(r"""[-\s]*["']?[\w.-]{1,64}["']?\s*:.*|[\W_]*""")
# Begins with a set of letters, which a search skips to: ten times as fast as words in either case. For the same reason
# a pattern looks behind only once its own first letters are there.
SECRET_WORD = (
    r"[pstacPSTAC](?i:(?<=p)(?:assword|asswd|assphrase|wd|rivate[_-]?key|(?<=[_-]p)ass(?![a-z]))|(?<=s)ecret|(?<=t)oken"
    r"|(?<=c)redential|(?<=a)(?:pi[_-]?key|ccess[_-]?key|ccount[_-]?key|uthorization))"
)
SECRET_NAME = re.compile(SECRET_WORD)
KEY_BEGIN = r"-----BEGIN[ +%0-9A-Z]{0,40}PRIVATE(?:[ +]|%20)KEY[ +%0-9A-Z]{0,20}-----"
KEY_END = r"-----END[ +%0-9A-Z]{0,40}PRIVATE(?:[ +]|%20)KEY[ +%0-9A-Z]{0,20}-----"
PATTERNS = [
    (re.compile(rf"{KEY_BEGIN}.*?(?:{KEY_END}|\Z)", re.DOTALL), MASK),
    # A PEM in base64, as a kubeconfig or a Secret has it.
    (re.compile(r"LS0tLS1CRUdJTi(?<![A-Za-z0-9+/]LS0tLS1CRUdJTi)[A-Za-z0-9+/=_-]+"), MASK),
    # A port and its path are no password, whatever @ comes later.
    (re.compile(r"(://[^\s:/@]{0,200}:)(?!\d{1,5}/)[^\s/]{0,500}(?<!:)(@)"), rf"\1{MASK}\2"),
    (re.compile(r"(://)[A-Za-z0-9_.~%-]{20,500}(@)"), rf"\1{MASK}\2"),
    (re.compile(r"([bB](?<!\w[bB])(?i:earer|asic)\s{1,20})[A-Za-z0-9._~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"\bAKIA[0-9A-Z]{16}\b"), MASK),
    # Tokens that say by their beginning whose they are: GitHub, GitLab, Slack, Stripe.
    (re.compile(r"\b(?:gh[opsur]_|github_pat_|glpat-|xox[a-z]-|[rs]k_live_)[\w-]{10,}"), MASK),
    # A scheme that is not known to be one: Authorization: Token hunter2
    (
        re.compile(
            r"""([aA](?i:uthorization)\\{0,8}["']?\s{0,20}[:=]\s{0,20}\\{0,8}["']?[A-Za-z][\w-]{0,20}[ ]{1,20})
            [^\s"',;\\]+""",
            re.VERBOSE,
        ),
        rf"\1{MASK}",
    ),
    (
        re.compile(
            rf"""({SECRET_WORD}[\w.-]{{0,64}}(?:\\{{0,8}}["'])?\s{{0,20}}(?:[:=]>?|=)\s{{0,20}})
            (\\{{1,8}}"[^"\n]+"?|"(?:[^"\\\n]|\\.)+"?|'(?:[^'\\\n]|\\.)+'?|[^\s"',;&)\]}}]+)""",
            re.VERBOSE,
        ),
        rf"\1{MASK}",
    ),
    # An option and its value: --db-password hunter2
    (re.compile(rf"(?<=-)({SECRET_WORD}[\w-]{{0,64}}\s{{1,20}})(?![-=:])[^\s]+"), rf"\1{MASK}"),
]
# NAME=VALUE and NAME: VALUE within a secret: a connection string, a document.
ASSIGNED = re.compile(
    rf"""{SECRET_WORD}[\w.-]{{0,64}}["']?[ \t]{{0,20}}[:=][ \t]{{0,20}}("[^"\n]+"|'[^'\n]+'|[^\s"';&]+)"""
)
# A key that a tool prints over several lines of a log, each of which may have a prefix, with others' lines in between.
BLOCK_BEGIN = re.compile(rf"{KEY_BEGIN}(?!.*{KEY_END})")
BLOCK_END = re.compile(KEY_END)
BLOCK_LINE = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/=]+\s*\Z")
# Lines of a key have 64 or 76 characters; only the last one is shorter.
SHORTEST_FULL_LINE = 40
# The longest keys have some two hundred lines; one that was cut must not mask what follows for long.
MAX_BLOCK_LINES = 400
UNICODE_ESCAPE = re.compile(r"(\\u)([0-9a-f]{4})")
GROUP_BEFORE = re.compile(r"[A-Za-z0-9+/_-]{1,4}\Z")
GROUP_AFTER = re.compile(r"[A-Za-z0-9+/_-]{1,4}={0,2}")


class Redactor:
    """Replaces secrets by `***`, in text and in nested JSON data. Knows the values it was given: whole, line by line,
    and in the forms in which tools print them (URL-quoted, escaped for JSON, Python, a shell or HTML, base64), and the
    secrets in a value that is a URL or a JSON document."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        given = {secret for secret in secrets if secret}
        values = {value for secret in given for value in _values(secret)}
        lines = {line for secret in given for line in _base64_lines(secret)}
        forms_of = {form for value in values for form in _forms(value)}
        forms_of |= {line for line in lines if len(line) >= SHORTEST_LINE}
        self._inner = {form for value in values for form in _inner_base64(value)} - forms_of
        known = {form for form in forms_of | self._inner if len(form) >= SHORTEST_SECRET}
        words = {word for value in values for word in _words(value)}
        words |= {line for line in lines if len(line) >= SHORTEST_SECRET}
        # Longest first, so that a secret which contains another leaves no remainder behind.
        self._forms = {form: re.escape(form) for form in sorted(known, key=len, reverse=True)}
        for word in sorted(words - known, key=len, reverse=True):
            self._forms[word] = rf"(?<![\w+/]){re.escape(word)}(?![\w+/=])"

    def text(self, text: str) -> str:
        text = self._mask_known(text)
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return text

    def data(self, value: Any) -> Any:
        """The same shape with every string redacted, and every string under a secret-looking key masked."""
        return self._data(value, is_secret=False)

    def lines(self) -> LineRedactor:
        """For a log that comes line by line."""
        return LineRedactor(self)

    def _data(self, value: Any, is_secret: bool) -> Any:
        if isinstance(value, str):
            return MASK if is_secret and value else self.text(value)
        if isinstance(value, Mapping):
            return {self._key(key): self._data(item, _is_secret(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._data(item, is_secret) for item in value]
        return value

    def _key(self, key: Any) -> Any:
        return self._mask_known(key) if isinstance(key, str) else key

    def _mask_known(self, text: str) -> str:
        # Hundreds of forms as one pattern are a thousand times slower than looking for each; most texts hold none.
        present = tuple(form for form in self._forms if form in text)
        if not present:
            return text
        known = re.compile("|".join(self._forms[form] for form in present))
        parts, end = [], 0
        for begin, until in self._known_in(text, known):
            if begin >= end:
                parts += [text[end:begin], MASK]
            end = max(end, until)
        return "".join([*parts, text[end:]])

    def _known_in(self, text: str, known: re.Pattern[str]) -> Iterator[tuple[int, int]]:
        """Where known values stand. They may overlap: what any of them covers is masked."""
        found = known.search(text)
        while found:
            begin, end = found.span()
            if found[0] in self._inner:
                begin, end = _whole_groups(text, begin, end)
            yield begin, end
            found = known.search(text, found.start() + 1)


class LineRedactor:
    """Masks the lines of one log, one after the other: a private key over several lines is masked to its end."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        # How many lines the key that was begun may still have, and whether the last one of it was full.
        self._key_lines, self._full = 0, False

    def line(self, line: str) -> str:
        if self._key_lines:
            line = self._without_key(line)
        if BLOCK_BEGIN.search(line):
            self._key_lines = MAX_BLOCK_LINES
        return self._redactor.text(line)

    def lines(self, lines: Sequence[str]) -> list[str]:
        """Many lines at once, which costs a tenth unless a key is among them."""
        text = "\n".join(lines)
        if self._key_lines or BLOCK_BEGIN.search(text):
            return [self.line(line) for line in lines]
        return self._redactor.text(text).split("\n") if lines else []

    def _without_key(self, line: str) -> str:
        self._key_lines -= 1
        if BLOCK_END.search(line):
            self._key_lines = 0
        body = BLOCK_LINE.search(line)
        if not body or not (self._full or len(body[0]) >= SHORTEST_FULL_LINE):
            return line
        # Behind a short line nothing but the end comes.
        self._full = len(body[0]) >= SHORTEST_FULL_LINE
        return line[: body.start()] + MASK


def find_secrets(value: Any, key: str = "") -> Iterator[str]:
    """Every string that stands under a secret-looking key anywhere in `value`."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from find_secrets(item, str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from find_secrets(item, key)
    elif isinstance(value, str) and value and SECRET_NAME.search(key):
        yield value


def assigned_secrets(text: str) -> Iterator[str]:
    """Values of what a text sets under a secret-looking name: `host=db password=hunter2`."""
    return (found[1].strip("\"'") for found in ASSIGNED.finditer(text))


def _is_secret(key: Any) -> bool:
    return isinstance(key, str) and bool(SECRET_NAME.search(key))


def _values(secret: str) -> Iterator[str]:
    """The secret, and the secrets in it: each long line, a URL's password, what a JSON document calls a secret."""
    if not secret:
        return
    yield secret
    yield secret.strip()
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= SHORTEST_LINE)
        # A key as one line, and without what stands around it.
        yield "".join(lines)
        yield "".join(line for line in lines if not line.startswith("-----"))
    if "://" in secret and len(lines) == 1:
        yield from _url_password(secret)
    if secret.lstrip().startswith(("{", "[")):
        yield from _json_secrets(secret)
    else:
        yield from assigned_secrets(secret)


def _url_password(url: str) -> Iterator[str]:
    try:
        password = urlsplit(url).password
    except ValueError:
        return
    if password:
        yield from (password, unquote(password))


def _json_secrets(document: str) -> Iterator[str]:
    try:
        content = json.loads(document)
    except (ValueError, RecursionError):
        return
    for secret in find_secrets(content):
        yield from _values(secret)


def _forms(secret: str) -> Iterator[str]:
    escaped = json.dumps(secret)[1:-1]
    raw = secret.encode("utf-8", "replace")
    yield from (secret, secret.replace("\n", "\r\n"))
    yield from (escaped, json.dumps(secret, ensure_ascii=False)[1:-1], json.dumps(escaped)[1:-1])
    # Others escape the slash, or write hexadecimal digits in capitals.
    yield from (escaped.replace("/", "\\/"), UNICODE_ESCAPE.sub(lambda found: found[1] + found[2].upper(), escaped))
    yield from (repr(secret)[1:-1], repr(raw)[2:-1], shlex.quote(secret)[1:-1] if "'" in secret else secret)
    # SQL, YAML and CSV double a quote.
    yield from (secret.replace("'", "''"), secret.replace('"', '""'))
    yield from (raw.hex(), raw.hex().upper())
    yield from (html.escape(secret), html.escape(secret, quote=False))
    for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))
    for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        yield encoded.decode().rstrip("=")
        yield encoded.decode()


def _inner_base64(secret: str) -> Iterator[str]:
    """What of a secret's base64 is the same whatever is encoded before and after it (`user:secret`): the whole groups
    of three bytes, for each place where the secret may begin in one."""
    raw = secret.encode("utf-8", "replace")
    for skipped in range(3):
        groups = raw[skipped : skipped + (len(raw) - skipped) // 3 * 3]
        if len(groups) >= 2 * SHORTEST_SECRET:
            yield base64.b64encode(groups).decode()
            yield base64.urlsafe_b64encode(groups).decode()


def _whole_groups(text: str, begin: int, end: int) -> tuple[int, int]:
    """The span with the groups before and after it, which hold the secret's first and last letters."""
    before, after = GROUP_BEFORE.search(text, max(begin - 4, 0), begin), GROUP_AFTER.match(text, end)
    return (before.start() if before else begin), (after.end() if after else end)


def _words(secret: str) -> Iterator[str]:
    """What is masked where it stands alone: short secrets, and the short lines of a longer one."""
    lines = [line.strip() for line in secret.splitlines()]
    if len(lines) == 1 and len(lines[0]) >= SHORTEST_WORD:
        yield lines[0]
    elif len(lines) > 1:
        yield from (line for line in lines if len(line) >= SHORTEST_SECRET and not DOCUMENT_LINE.fullmatch(line))


def _base64_lines(secret: str) -> Iterator[str]:
    """The lines of a longer secret in base64, as tools break it."""
    encoded = base64.b64encode(secret.encode("utf-8", "replace")).decode()
    for width in BASE64_LINES:
        if len(encoded) > width:
            yield from (encoded[at : at + width] for at in range(0, len(encoded), width))
