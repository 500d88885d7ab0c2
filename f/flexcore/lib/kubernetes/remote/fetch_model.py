# requirements: flexcore_kubernetes
"""The program of a model pod's first container: brings the model's files into place and checks each of them.

Shipped as text and run by the server image's own Python (3.9 or later), hence the standard library alone and nothing
of this bundle. It reads a plan:

    {"folder": "/mnt/models", "files": [{"path", "bytes", "checksum"}],
     "source": {"endpoint", "bucket", "prefix", "region"} | null,       null: the files are in the folder already
     "ranges": of the versions that can read it, as core/model_versions has them}

Keys come as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; without them the bucket must be public. Its end says what
went wrong: an exit code of EXITS, and a sentence in the termination log.
Source of the signature: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

# Exit codes, far from those of Python (1, 2), shells (126, 127) and signals (128 and more).
EXITS = {"mismatch": 40, "denied": 41, "not_found": 42, "unreachable": 43}
EMPTY = hashlib.sha256(b"").hexdigest()
CHUNK = 1 << 20
TRIES = 4
TIMEOUT_S = 60


class FetchError(Exception):
    """The model cannot be brought; `kind` is a key of EXITS."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def sign_headers(url: str, region: str, key: str, secret: str, now: datetime.datetime) -> dict[str, str]:
    """The headers of a GET of `url` (its path quoted already) under Signature Version 4."""
    parts = urllib.parse.urlsplit(url)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": parts.netloc, "x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join(["GET", parts.path, parts.query, lines, names, EMPTY])
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    signing = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        signing = hmac.new(signing, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    credential = f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {name: value for name, value in headers.items() if name != "host"} | {"Authorization": credential}


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect names the bucket's own region; following it would send a signature that is made for another."""

    def redirect_request(self, *_: Any) -> None:
        return None


def open_object(source: dict[str, str], path: str, env: Mapping[str, str]) -> Any:
    """The stream of one object. Path-style addresses: every S3 server knows them."""
    key, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    name = "/".join(part for part in (source["prefix"], path) if part)
    region = source["region"] or "us-east-1"
    for _ in range(2):
        endpoint = source["endpoint"] or f"https://s3.{region}.amazonaws.com"
        url = f"{endpoint.rstrip('/')}/{urllib.parse.quote(source['bucket'])}/{urllib.parse.quote(name, safe='/~')}"
        now = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017 (a server image may have Python 3.9)
        headers = sign_headers(url, region, key, secret, now) if key and secret else {}
        try:
            opener = urllib.request.build_opener(NoRedirect())
            return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            elsewhere = error.headers.get("x-amz-bucket-region")
            if error.code not in (301, 307, 400) or not elsewhere or elsewhere == region:
                raise
            region = elsewhere
    raise FetchError("unreachable", f"bucket {source['bucket']} moved between regions")


def download_file(
    source: dict[str, str],
    path: str,
    target: pathlib.Path,
    env: Mapping[str, str],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """One file, tried again while the failure may pass."""
    where = f"{path} of s3://{source['bucket']}/{source['prefix']}"
    problem = ""
    for attempt in range(TRIES):
        try:
            with open_object(source, path, env) as stream, target.open("wb") as file:
                while block := stream.read(CHUNK):
                    file.write(block)
            return
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise FetchError("denied", f"the store refuses {where} (HTTP {error.code})") from None
            if error.code == 404:
                raise FetchError("not_found", f"the store has no {where}") from None
            problem = f"HTTP {error.code}"
        except (OSError, ValueError) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
        if attempt < TRIES - 1:
            sleep(2**attempt)
    raise FetchError("unreachable", f"the store at {source['endpoint'] or 'AWS'} does not deliver {where}: {problem}")


def check_file(folder: pathlib.Path, entry: dict[str, Any]) -> None:
    """Raises FetchError unless the file is what the manifest promises."""
    path = folder / entry["path"]
    if not path.is_file():
        raise FetchError("mismatch", f"{entry['path']} is missing in {folder}")
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    if f"sha256:{digest.hexdigest()}" != entry["checksum"]:
        raise FetchError("mismatch", f"{entry['path']} is not the file of the model's manifest: another checksum")


def check_versions(ranges: list[dict[str, Any]]) -> None:
    """Raises FetchError that names both versions when this image has one that cannot read the model. What it does not
    have at all, its server may not need."""
    wrong = []
    for item in ranges:
        here = find_installed(item["names"])
        number = [int(part) for part in re.findall(r"\d+", here or "")[:2]]
        fits = item["low"] and item["low"] <= number and (item["high"] is None or number < item["high"])
        if here is None or fits or here == item["trained"]:
            continue
        text = f"the model was trained with {item['package']} {item['trained']}, and the image has {here}"
        if item["refuse"]:
            wrong.append(text)
        else:
            print(f"Note: {text}: its answers may differ", flush=True)
    if wrong:
        raise FetchError("mismatch", f"{'; '.join(wrong)}: use an image with the trained versions, or train it again")


def find_installed(names: list[str]) -> str | None:
    for name in names:
        if name == "python":
            return platform.python_version()
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def fetch_model(plan: dict[str, Any], env: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> None:
    check_versions(plan.get("ranges") or [])
    folder = pathlib.Path(plan["folder"])
    for entry in plan["files"]:
        target = folder / entry["path"]
        # A manifest comes from outside: its paths must stay within the folder.
        if folder.resolve() not in target.resolve().parents:
            raise FetchError("mismatch", f"{entry['path']} lies outside of the model's folder")
        if plan["source"]:
            target.parent.mkdir(parents=True, exist_ok=True)
            download_file(plan["source"], entry["path"], target, env, sleep)
        check_file(folder, entry)
        print(f"{entry['path']}: {entry['bytes']} bytes, checksum matches", flush=True)


def run(plan_path: str, termination_log: str = "/dev/termination-log") -> int:
    try:
        fetch_model(json.loads(pathlib.Path(plan_path).read_text()), os.environ)
    except FetchError as error:
        print(error, file=sys.stderr, flush=True)
        with contextlib.suppress(OSError):
            pathlib.Path(termination_log).write_text(str(error))
        return EXITS[error.kind]
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1]))
