"""When and where a line of a kernel log was written, in every form in which such logs are kept.

dmesg (seconds since boot, or -T, or --time-format=iso), /dev/kmsg, journalctl (short, iso, json), syslog (RFC 3164 with
its missing year, RFC 5424). Times without a zone are read as UTC: between hosts of one site that is at worst the same
error everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAY_S: Final = 86_400.0
MOST_NODE: Final = 253

PRIORITY: Final = re.compile(r"<\d{1,3}>(?:1 )?")
SINCE_BOOT: Final = re.compile(r"\[\s{0,16}(\d{1,12}\.\d{1,9})\]\s?")
DMESG_T: Final = re.compile(r"\[\w{3} (\w{3})\s{1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})\]\s?")
ISO: Final = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?\s+")
SYSLOG: Final = re.compile(r"(\w{3})\s{1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?\s+")
KMSG: Final = re.compile(r"\d{1,5},\d{1,20},(\d{1,20}),[^;]{0,60};")
HOST: Final = re.compile(r"([\w.:-]{1,253})\s+(?:kernel|[\w./-]{1,64}(?:\[\d{1,10}\])?):\s+")
HOST_5424: Final = re.compile(
    r"([\w.:-]{1,253}) (?:kernel|[\w./-]{1,64}) \S{1,128} \S{1,128} (?:-|\[[^\]]{0,256}\])\s+"
)
SHAPES: Final = (SINCE_BOOT, DMESG_T, ISO, SYSLOG, KMSG)


@dataclass(frozen=True, slots=True)
class LogLine:
    """time_s: Unix time, 0 where it is unknown. node: empty where the line names no host. text: what was logged."""

    time_s: float
    node: str
    text: str


class _Journal(msgspec.Struct, frozen=True):
    message: str | list[int] | None = msgspec.field(name="MESSAGE", default=None)
    time_us: str = msgspec.field(name="__REALTIME_TIMESTAMP", default="0")
    host: str = msgspec.field(name="_HOSTNAME", default="")


JOURNAL: Final = msgspec.json.Decoder(_Journal, strict=False)


def is_log_line(line: str) -> bool:
    """Whether it begins like a line of a kernel log."""
    line = PRIORITY.sub("", line, count=1) if line.startswith("<") else line
    return any(shape.match(line) for shape in SHAPES)


def read_log_line(line: str, written_s: float = 0.0, boot_s: float | None = None) -> LogLine:
    """A line's time, host and text. Raises ValueError for a line of JSON that is no journal entry.

    written_s: Unix time when the log was written, which tells the year where the line does not. boot_s: Unix time when
    the host started, for times since then.
    """
    if line.startswith("{"):
        return _journal_line(line)
    if (prefix := PRIORITY.match(line)) is not None:
        line = line[prefix.end() :]
    time_s = 0.0
    if found := SINCE_BOOT.match(line):
        time_s = boot_s + float(found[1]) if boot_s is not None else 0.0
        return LogLine(time_s, "", line[found.end() :])
    if found := KMSG.match(line):
        time_s = boot_s + int(found[1]) / 1e6 if boot_s is not None else 0.0
        return LogLine(time_s, "", line[found.end() :])
    if found := DMESG_T.match(line):
        return LogLine(_when(int(found[6]), found[1], *found.group(2, 3, 4, 5)), "", line[found.end() :])
    if found := ISO.match(line):
        time_s = _iso(found[1], found[2], found[3], found[4])
    elif found := SYSLOG.match(line):
        time_s = _without_year(found, written_s)
    else:
        return LogLine(0.0, "", line)
    rest = line[found.end() :]
    named = HOST.match(rest) or HOST_5424.match(rest)
    if named is None or named[1].endswith(":"):
        return LogLine(time_s, "", rest)
    rest = rest[named.end() :]
    since = SINCE_BOOT.match(rest)
    return LogLine(time_s, named[1], rest[since.end() :] if since else rest)


def _journal_line(line: str) -> LogLine:
    try:
        entry = JOURNAL.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ValueError(f"no entry of a journal: {error}") from error
    text = entry.message
    if isinstance(text, list):  # so journald writes the bytes of a message that is no UTF-8
        text = bytes(byte & 255 for byte in text).decode("utf-8", "replace")
    micro = int(entry.time_us) if entry.time_us.isdecimal() and len(entry.time_us) <= 17 else 0
    return LogLine(micro / 1e6, entry.host[:MOST_NODE], text or "")


def _when(year: int, month: str, day: str, hour: str, minute: str, second: str) -> float:
    """Unix time; 0 for a day that does not exist."""
    try:
        number = MONTHS.index(month.lower()) + 1
        return datetime(year, number, int(day), int(hour), int(minute), int(second), tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _without_year(found: re.Match[str], written_s: float) -> float:
    """The last such day before the log was written; a day's grace, for clocks."""
    if not 0 < written_s < 4e11:
        return 0.0
    year = datetime.fromtimestamp(written_s, UTC).year
    for one in (year + 1, year, year - 1):
        time_s = _when(one, *found.group(1, 2, 3, 4, 5))
        if 0 < time_s <= written_s + DAY_S:
            return time_s
    return 0.0


def _iso(day: str, clock: str, fraction: str | None, zone: str | None) -> float:
    offset = "+00:00" if zone in (None, "Z") else zone if zone[-3] == ":" else f"{zone[:3]}:{zone[3:]}"
    try:
        return datetime.fromisoformat(f"{day}T{clock}{offset}").timestamp() + float(f"0.{fraction or 0}")
    except (ValueError, OverflowError):
        return 0.0
