# requirements: flexcore_base
"""What a TLS error of any program says, and what to do about it. Pure.

The same few causes appear in the words of OpenSSL (Python, git, PostgreSQL, Ray), rustls (uv), Go (Kubernetes), curl
(pyarrow's S3), Java and Node. A wrong certificate is no wrong name of a package and no server that is down.
"""

from __future__ import annotations

import re

# Variables that name an authority to programs: the first for most (Python, uv, Go), each other for its own kind.
BUNDLES = "SSL_CERT_FILE (for requests and pip REQUESTS_CA_BUNDLE, for S3 AWS_CA_BUNDLE, for git GIT_SSL_CAINFO)"
# Kind → what it looks like; the first that fits is the cause.
KINDS = {
    "bundle": (
        r"suitable TLS CA certificate bundle|invalid `?SSL_CERT_(?:FILE|DIR)|error setting certificate (?:verify|file)"
        r"|error adding trust anchors|root certificate file .* does not exist"
    ),
    "plain": (
        r"wrong.version.number|http_request\b|server gave HTTP response to HTTPS client|not look like a TLS handshake"
        r"|received corrupt message of type InvalidContentType|packet length too long|record layer failure"
        r"|server does not support SSL|Unsupported or unrecognized SSL message"
    ),
    "expired": (
        r"certificate.{0,60}\b(?:has )?expired|CERT_HAS_EXPIRED|certificate: (?:Expired|NotValidYet)|not yet valid"
        r"|CertificateExpired|CertificateNotYetValid|NotBefore|NotAfter"
    ),
    "name": (
        r"Host ?name mismatch|hostname .{0,200}does ?n.t match|is not valid for '|NotValidForName"
        r"|certificate is valid for|IP address mismatch|no alternative certificate subject|ALTNAME_INVALID"
        r"|doesn't contain any IP SANs|does not match (?:target )?host ?name|No subject alternative"
    ),
    "client": (
        r"certificate.required|client certificate (?:is )?required|CertificateRequired|bad.certificate\b"
        r"|peer did not return a certificate|No required SSL certificate was sent"
    ),
    "untrusted": (
        r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|UnknownIssuer|unknown authority|self.signed certificate"
        r"|unable to get (?:local )?issuer|SELF_SIGNED_CERT|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER"
        r"|invalid peer certificate|certificate verification failed|SSL certificate problem"
        r"|SSL peer certificate|confirming the ssl certificate"
        r"|unknown ca\b|PKIX path|x509:|CaUsedAsEndEntity|cURL error 60|curlCode: 60|CERTIFICATE_UNKNOWN"
    ),
    "handshake": (
        r"\[SSL[:\]]|\bSSLError\b|SSLCertVerificationError|SSLEOFError|SSL connect error|curlCode: 35|tlsv1 alert"
        r"|TLS handshake|handshake.failure|protocol.version|UNSAFE_LEGACY|ssl routines|received fatal alert|tls: "
        r"|SSL SYSCALL|SSL validation failed|TLSV1_ALERT"
    ),
}
PATTERNS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in KINDS.items()}
# Beyond this nothing new is said; a whole log is not searched.
SEARCHED = 20_000


def tls_kind(said: str) -> str:
    """bundle, plain, expired, name, client, untrusted or handshake; "" when `said` speaks of no TLS error."""
    return next((kind for kind, pattern in PATTERNS.items() if pattern.search(said[:SEARCHED])), "")


def tls_remedy(said: str, where: str = "the worker", field: str = "") -> str:
    """What to do about the TLS error in `said`, "" when there is none.

    where: whose trust counts; field: where the certificate authority is given, empty when by environment variables."""
    give = f"in {field}" if field else f"as a PEM file in {BUNDLES} on {where}"
    remedies = {
        "bundle": f"Correct the file of certificate authorities on {where}: it is named by {BUNDLES}.",
        "plain": "What answers there does not speak TLS: correct http or https and the port of the address.",
        "expired": f"The server's certificate is not valid now: renew it, or set the clock of {where} right.",
        "name": "The server's certificate is for another name: use the name that it is valid for.",
        "client": "The server asks for a client certificate, or does not accept the one that it got.",
        "untrusted": f"{where[:1].upper()}{where[1:]} does not know who signed the server's certificate (a company's "
        f"proxy may have its own): give that certificate authority {give}.",
        "handshake": "The TLS connection failed: check the address, its port and what is in between; a certificate "
        f"authority of your own is given {give}.",
    }
    kind = tls_kind(said)
    return remedies[kind] if kind else ""


def error_chain(error: BaseException) -> str:
    """The texts of an error and of what caused it: libraries wrap a TLS error twice or more."""
    texts: list[str] = []
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        texts.append(f"{type(at).__name__}: {at}")
        at = at.__cause__ or at.__context__ or getattr(at, "reason", None)
        at = at if isinstance(at, BaseException) else None
    return "\n".join(texts)
