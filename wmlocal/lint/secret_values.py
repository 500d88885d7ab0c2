"""Secrets that stand in a file in clear text: told by their name, their shape, or both."""

from __future__ import annotations

import re

from wmlocal.lint.context import Context
from wmlocal.lint.positions import Item

# A name that ends so holds a secret itself …
NAME = re.compile(
    r"(?:^|_)(?:\w*password|\w*passwd|passphrase|pass|pwd|secret|secret_key|token|\w*api_?key|access_?key|private_?key"
    r"|client_secret|credentials?|basic_auth|auth_key|account_key|encryption_key|signing_key)$",
    re.IGNORECASE,
)
# … whatever the name, a text of this shape is one: a key block, a password in an address or a connection string, a
# signed token, a hook whose address is its key, a token of a known maker.
SHAPE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@]*:[^/\s:@${<*]+@"
    r"|\b(?:Password|Pwd|AccountKey|SharedAccessKey|ClientSecret)\s*=\s*[^;\s${<*%]+\s*(?:;|$)"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]+|\b(?:Basic|Bearer) [\w.+/~-]{16,}=*\s*$"
    r"|://hooks\.slack\.com/services/T\w+/B\w+/\w+|://discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|[sr]k_live_|AKIA|hf_|npm_|pypi-|dop_v1_|AIza|SG\.)[\w-]{12,}",
)
# A reference, a placeholder, a path, a number or a word of configuration is none.
REFERENCES = ("$var:", "$res:", "$encrypted:", "$jsonvar:", "!inline", "${", "$")
NONE = re.compile(r"(?:/|\./|~/|https?://)\S*|true|false|yes|no|on|off|null|none|<.*>|\*+|x+|\.+|…", re.IGNORECASE)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
PASS = re.compile(r"pass|pwd", re.IGNORECASE)
# What a workspace's key makes of a secret; a plain one hardly looks like it.
ENCRYPTED = re.compile(r"^[A-Za-z0-9+/]{22,}={0,2}$")


def looks_secret(name: str, value: str) -> bool:
    """Whether a constant of that name holds a secret itself, not a reference to one."""
    text = value.strip().strip("'\"")
    if not text or text.startswith(REFERENCES):
        return False
    if SHAPE.search(text):
        return True
    named = NAME.search(name)
    return bool(named) and not NONE.fullmatch(text) and (bool(PASS.search(name)) or not NUMBER.fullmatch(text))


def plain_secret(context: Context, file: str, place: Item | tuple[int, int], name: str, remedy: str) -> None:
    context.report(file, place, "plain-secret", f"{name} stands in clear text; {remedy}", warn=True)
