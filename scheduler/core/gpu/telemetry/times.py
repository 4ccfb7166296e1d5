"""Times as JSON of Kubernetes and of monitors writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def unix_time(value: object) -> float:
    """Unix time of an RFC 3339 string or of a number of seconds; 0 where it is neither. Without a zone it is UTC."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 < value < 4e11 else 0.0
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        return 0.0
    text = value.strip().replace("Z", "+00:00")
    if (dot := text.find(".")) > 0:  # Go writes nanoseconds, which datetime does not read
        end = dot + 1
        while end < len(text) and text[end].isdigit():
            end += 1
        text = text[: min(end, dot + 7)] + text[end:]
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
