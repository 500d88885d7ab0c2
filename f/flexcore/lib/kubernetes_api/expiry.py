# requirements: flexcore_kubernetes
"""When the credentials of a cluster end: of a token (JWT) and of certificates. Pure; nothing is verified here.

A token that is no JWT, and one without an end, says nothing: None. The server decides; our own clock only warns.
Source: RFC 7519 (exp), RFC 5280 (validity)
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from f.flexcore.lib.kubernetes_api import credentials

# Time enough to renew it by hand.
SOON = timedelta(days=7)
PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
UTC_TIME, GENERALIZED_TIME, VERSION = 0x17, 0x18, 0xA0


@dataclass(frozen=True, slots=True)
class Expiry:
    """what: token, client certificate or CA certificate; subject: whose, for a service account's token."""

    what: str
    until: datetime
    subject: str = ""

    def describe(self, now: datetime) -> str:
        """That it ends soon or has ended, or ""."""
        left = self.until - now
        if left > SOON:
            return ""
        name = f"The {self.what}" + (f" of {self.subject}" if self.subject else "")
        when = self.until.strftime("%Y-%m-%d %H:%M UTC")
        return (
            f"{name} expired at {when}" if left <= timedelta(0) else f"{name} expires at {when}, {_span(left)} from now"
        )


def list_expiries(access: credentials.Access) -> list[Expiry]:
    """Those that are known, of what the requests use."""
    found = [_read_token(access.bearer())] if access.token or access.token_file else []
    found.append(_read_certificate(access.client_certificate, "client certificate"))
    found.append(_read_certificate(access.ca, "CA certificate"))
    return [item for item in found if item]


def describe_credentials(access: credentials.Access, now: datetime) -> dict[str, Any]:
    """For people and programs: how we say who we are, when each part ends (null: it does not say), and what is to be
    done soon."""
    kinds = [
        *(["token file"] if access.token_file else ["token"] if access.token else []),
        *(["client certificate"] if access.client_certificate else []),
    ]
    expiries = list_expiries(access)
    ends = [item.until for item in expiries if item.what != "CA certificate"]
    return {
        "kind": " and ".join(kinds) or "none",
        "context": access.context,
        "expires_at": min(ends).isoformat() if ends else None,
        "expiries": [
            {"what": item.what, "until": item.until.isoformat(), "subject": item.subject} for item in expiries
        ],
        "warnings": [text for item in expiries if (text := item.describe(now))],
    }


def describe_expired(access: credentials.Access, now: datetime) -> str:
    """Which credentials have ended by `now`, or "": why a server refuses them."""
    return "; ".join(item.describe(now) for item in list_expiries(access) if item.until <= now)


def _span(left: timedelta) -> str:
    hours = left.total_seconds() / 3600
    if hours < 2:
        return f"{left.total_seconds() / 60:.0f} minutes"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"


def _read_token(token: str) -> Expiry | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        until = datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (binascii.Error, ValueError, KeyError, TypeError, OverflowError, OSError):
        return None
    subject = str(claims.get("sub") or "").removeprefix("system:serviceaccount:")
    return Expiry("token", until, subject.replace(":", "/") if re.fullmatch(r"[\w:.@-]{1,200}", subject) else "")


# --- certificates: DER, as far as validity


def _read_certificate(pem: str, what: str) -> Expiry | None:
    """The first end among the certificates of a PEM text; a chain is as good as its weakest."""
    ends = [end for text in PEM.findall(pem) if (end := _read_end(text))]
    # Of a bundle of authorities one that has ended does no harm while another is good.
    return Expiry(what, max(ends) if what.startswith("CA") else ends[0]) if ends else None


def _read_end(text: str) -> datetime | None:
    try:
        der = base64.b64decode(text)
        certificate, _ = _read_field(der, 0)
        signed, _ = _read_field(der, certificate)
        at = signed
        if der[at] == VERSION:
            at = _skip(der, at)
        for _ in ("serial number", "signature", "issuer"):
            at = _skip(der, at)
        validity, _ = _read_field(der, at)
        begin, end = _read_field(der, _skip(der, validity))
        return _parse_time(der[_skip(der, validity)], der[begin:end].decode("ascii"))
    except (binascii.Error, IndexError, ValueError):
        return None


def _read_field(der: bytes, at: int) -> tuple[int, int]:
    """(begin, end) of the content of the field at `at`."""
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + count], "big"), begin + count
    if begin + length > len(der):
        raise ValueError("cut off")
    return begin, begin + length


def _skip(der: bytes, at: int) -> int:
    return _read_field(der, at)[1]


def _parse_time(tag: int, text: str) -> datetime | None:
    if tag == UTC_TIME:
        # Two digits of the year: 50 and later are of the last century.
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif tag != GENERALIZED_TIME:
        return None
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
