"""Durations and sizes as people write them."""

import re

from diorama.errors import InputError

_TIME = {"s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_seconds(text: str | float) -> float:
    """`90`, `90s`, `5m`, `1.5h` or `1h30m` as seconds; raises InputError for anything else."""
    if isinstance(text, int | float):
        seconds = float(text)
    else:
        parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
        if not parts or "".join(a + b for a, b in parts) != text.strip():
            raise InputError(f"{text!r} is not a duration. Write 90s, 5m or 1h30m.")
        seconds = sum(float(number) * _TIME[unit or "s"] for number, unit in parts)
    if not 0 < seconds < 1e8:
        raise InputError(f"a duration of {seconds} s is not possible. Write 90s, 5m or 1h30m.")
    return seconds


def parse_bytes(text: str | int) -> int:
    """`500MB`, `4GB`, `4G` or a number of bytes (1 GB = 2^30 bytes); raises InputError for anything else."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) <= 0:
        raise InputError(f"{text!r} is not an amount of memory. Write 500MB or 4GB.")
    return int(float(match[1]) * _SIZE[match[2].upper()])


def memory_limit(text: str | int | None) -> int:
    """Bytes for the samples in flight: as said (`parse_bytes`), else a scene's own default."""
    from diorama.scenes.scene import DEFAULT_MEMORY

    return DEFAULT_MEMORY if text is None else parse_bytes(text)
