# requirements: flexcore_base
"""Amounts as people write and read them: "10GB", "1.5 TiB", 1024 become bytes; text is never compared."""

from __future__ import annotations

import math
import re
from typing import Any

# Source: IEC 80000-13 (binary prefixes) and the SI's decimal ones; a lone letter is taken as decimal.
POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
SIZE = re.compile(r"([+-]?\d[\d_,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*([kmgtpe]?)(i?)(b|bytes?|)", re.IGNORECASE)
MAX_BYTES = 2**63 - 1
GIB = 2.0**30


def parse_size(value: Any) -> int | None:
    """Return the bytes of "50GB" (decimal), "1.5 TiB" (binary) or a number of bytes; None for None and "".

    Raises ValueError for a word, a negative number, NaN, more than 8 EiB, or true.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a size: write bytes, or an amount such as 500MB, 50GB or 1.5TiB")
    amount = _parse_amount(value) if isinstance(value, str) else value
    if not math.isfinite(amount) or not 0 <= amount <= MAX_BYTES:
        raise ValueError(f"{value!r} is not a size: it must lie between 0 and 8 EiB")
    return round(amount)


def _parse_amount(text: str) -> float:
    match = SIZE.fullmatch(text.strip())
    if not match or (match[3] and not match[2]):
        raise ValueError(f"{text!r} is not a size: write bytes, or an amount such as 500MB, 50GB or 1.5TiB")
    number = float(match[1].replace(",", "").replace("_", ""))
    base = 1024.0 if match[3] else 1000.0
    return number * float(base ** POWERS[match[2].lower()])


def format_size(size: float) -> str:
    """Return bytes as people read them: 12000000000 → "12 GB"."""
    power = min(int(math.log10(size) // 3), 6) if size >= 1 else 0
    return f"{size / 1000**power:.4g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB')[power]}"


def format_money(amount: float) -> str:
    """Return cents where they say something, else the first figures: 1234.5 → "1,234.50", 0.01234 → "0.0123"."""
    return f"{amount:,.2f}" if amount >= 0.1 else f"{amount:.3g}"
