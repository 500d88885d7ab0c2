"""A Windmill step that asks a large language model behind an OpenAI-compatible endpoint, and returns its answer."""

import time
from typing import Any

import httpx

# An endpoint that is short of capacity says so by these; anything else would be refused again.
BUSY = (429, 500, 502, 503, 504)
MAX_TRIES = 4
MAX_PAUSE_S = 30.0


def main(
    base_url: str,
    api_key: str,
    model: str,
    prompt: str,
    max_tokens: int = 500,
    timeout_s: float = 120,
) -> dict[str, Any]:
    """{text, finish_reason, usage}. api_key: $var:… of a secret variable; it goes into the header alone."""
    body = {"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": prompt}]}
    with httpx.Client(timeout=httpx.Timeout(timeout_s, connect=10)) as client:
        for number in range(1, MAX_TRIES + 1):
            response = client.post(
                f"{base_url.rstrip('/')}/chat/completions", json=body, headers={"Authorization": f"Bearer {api_key}"}
            )
            if response.status_code not in BUSY or number == MAX_TRIES:
                break
            wait = response.headers.get("Retry-After", "")
            time.sleep(min(float(wait) if wait.isdigit() else 2.0**number, MAX_PAUSE_S))
    if response.status_code != 200:
        raise RuntimeError(f"{base_url} answered HTTP {response.status_code}: {response.text[:300]}")
    answer = response.json()
    choice = answer["choices"][0]
    return {
        "text": choice["message"]["content"],
        # "length": max_tokens was too few, and the text is cut off.
        "finish_reason": choice["finish_reason"],
        "usage": answer.get("usage"),
    }
