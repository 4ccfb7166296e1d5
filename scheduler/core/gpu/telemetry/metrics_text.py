"""Prometheus' text format, as far as exporters of GPUs use it: samples with labels, an optional time, comments.

Source: prometheus.io, exposition formats, text 0.0.4; OpenMetrics' `# EOF` and exemplars are skipped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from scheduler.core.gpu.telemetry.rejects import Rejects, text_lines

SAMPLE: Final = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]{0,199}+)(?:\s*+\{(.*)\})?+\s++(\S{1,64}+)(?:\s++(-?[0-9.]{1,24}+))?+\s*+(?:#.*)?$"
)
LABEL: Final = re.compile(r'\s*+([a-zA-Z_][a-zA-Z0-9_]*+)\s*+=\s*+"((?:[^"\\]|\\.)*+)"\s*+(?:,|$)')
ESCAPED: Final = re.compile(r"\\(.)")
UNESCAPED: Final = {"n": "\n", '"': '"', "\\": "\\"}
MOST_LABELS: Final = 64
MILLISECONDS_FROM: Final = 1e11
"""Text 0.0.4 gives times in milliseconds, OpenMetrics in seconds; seconds reach this in the year 5138."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: time_s is Unix time, None where the line has none; line counts from 1."""

    name: str
    labels: dict[str, str]
    value: float
    time_s: float | None
    line: int


def read_samples(lines: Iterable[bytes], rejects: Rejects) -> Iterator[Sample]:
    """The samples of a scrape; lines that are none are rejected, NaN and infinities skipped."""
    for number, raw in text_lines(lines, rejects):
        if raw.startswith(b"#"):
            continue
        line = raw.decode("utf-8", "replace")
        found = SAMPLE.match(line)
        if found is None:
            rejects.add(number, f"not `name{{labels}} value`: {line[:80]!r}")
            continue
        name, inside, text, stamp = found.groups()
        labels = _labels(inside or "")
        if labels is None:
            rejects.add(number, f'labels of {name} are not `name="value", ...`: {inside[:80]!r}')
            continue
        try:
            value, time = float(text), float(stamp) if stamp else None
        except ValueError:
            rejects.add(number, f"{name}: {text[:40]!r} is no number")
            continue
        if math.isfinite(value):
            time_s = None if time is None else time / 1000 if abs(time) > MILLISECONDS_FROM else time
            yield Sample(name, labels, value, time_s, number)


def _labels(inside: str) -> dict[str, str] | None:
    labels: dict[str, str] = {}
    at = 0
    while at < len(inside):
        found = LABEL.match(inside, at)
        if found is None or len(labels) >= MOST_LABELS:
            return labels if not inside[at:].strip(" ,") else None
        labels[found[1]] = ESCAPED.sub(lambda one: UNESCAPED.get(one[1], one[0]), found[2])
        at = found.end()
    return labels
