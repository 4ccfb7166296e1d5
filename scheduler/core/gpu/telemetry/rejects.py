"""What a reader could not use: all of it counted, the first of it named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")
NEXT_DOCUMENT: Final = re.compile(r"\n[{\[]")
MOST_NAMED: Final = 20
MOST_LINE_BYTES: Final = 1 << 20
"""The verbose record of an operation on 64 channels takes 20 KiB."""


@dataclass(frozen=True, slots=True)
class Reject:
    """line: from 1; 0 where the rule is of the whole input. rule: what was broken, and the value that broke it."""

    line: int
    rule: str


@dataclass(slots=True)
class Rejects:
    """total: all that was not used; named: the first MOST_NAMED of it."""

    total: int = 0
    named: list[Reject] = field(default_factory=list)

    def add(self, line: int, rule: str) -> None:
        """Count one, and name it while there are few."""
        self.total += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(Reject(line, rule))

    def words(self) -> str:
        """One sentence: how many, and the first. Empty where there are none."""
        if not self.total:
            return ""
        first = self.named[0]
        where = f"line {first.line}: " if first.line else ""
        more = f" (and {self.total - 1} more)" if self.total > 1 else ""
        return f"{where}{first.rule}{more}"


def text_lines(lines: Iterable[bytes], rejects: Rejects) -> Iterator[tuple[int, bytes]]:
    """Lines that hold something, stripped, with their number from 1; a line that is too long is rejected."""
    for number, line in enumerate(lines, 1):
        if len(line) > MOST_LINE_BYTES:
            rejects.add(number, f"a line of {len(line)} bytes, more than {MOST_LINE_BYTES}")
            continue
        line = line.strip(b" \t\r\n\0")
        if line:
            yield number, line


def decode_records(
    lines: Iterable[bytes], rejects: Rejects, decoder: msgspec.json.Decoder[T]
) -> Iterator[tuple[int, T]]:
    """JSON lines, each decoded as the decoder's type, with its number; a line that does not fit is rejected."""
    for number, line in text_lines(lines, rejects):
        try:
            yield number, decoder.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            rejects.add(number, f"{error}")


def json_documents(text: str, rejects: Rejects) -> Iterator[tuple[int, Any]]:
    """JSON values that follow one another, however they are laid out, each with the line it begins in.

    After a broken one reading goes on at the next line that begins with `{` or `[`.
    """
    decoder = json.JSONDecoder()
    at, line, counted = 0, 1, 0
    while True:
        while at < len(text) and text[at] in " \t\r\n,\0\ufeff":
            at += 1
        if at >= len(text):
            return
        line += text.count("\n", counted, at)
        counted = at
        try:
            _, end = decoder.raw_decode(text, at)
            # once more, because json lets pass what is no Unicode, and NaN
            document = msgspec.json.decode(text[at:end].encode())
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            rejects.add(line, f"broken JSON: {error}")
            after = NEXT_DOCUMENT.search(text, at)
            if after is None:
                return
            at = after.start() + 1
            continue
        at = end
        yield line, document
