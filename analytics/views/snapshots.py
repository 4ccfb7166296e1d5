"""Snapshots that pages ask about: read once and kept while they are looked at; one search at a time.

A search takes a core for as long as it is allowed to, and its process serves one question at once, so that sessions
take turns. What is kept is bounded: the snapshots of the last two clusters.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Final

from analytics.errors import InputError
from analytics.workspace import MOST_SNAPSHOT_BYTES, Item
from scheduler.core.errors import StowageInputError
from scheduler.core.packing.from_snapshot import Packing, make_packing
from scheduler.core.packing.solve import warm
from scheduler.core.snapshot import Snapshot, parse_snapshot

KEPT: Final = 2
LONGEST_TURN_S: Final = 60.0

_reading = threading.Lock()
_searching = threading.Lock()


def read_snapshot(item: Item) -> Snapshot:
    """The snapshot of an item. Raises InputError if it is gone or none (any more)."""
    with _reading:
        return _read(item)


def packing_of(item: Item) -> Packing:
    """Its packing problem: who may move, who is alike, what binds them."""
    with _reading:
        return _pack(item)


@functools.lru_cache(maxsize=KEPT)
def _read(item: Item) -> Snapshot:
    try:
        size = item.path.stat().st_size
        if size > MOST_SNAPSHOT_BYTES:
            raise InputError(f"{item.path} has {size >> 20} MiB; at most {MOST_SNAPSHOT_BYTES >> 20} are read")
        return parse_snapshot(item.path.read_bytes())
    except OSError as unreadable:
        raise InputError(f"{item.path}: {unreadable.strerror or unreadable}: take the snapshot again") from unreadable
    except StowageInputError as broken:
        raise InputError(f"{item.path}: {broken}") from broken


@functools.lru_cache(maxsize=KEPT)
def _pack(item: Item) -> Packing:
    return make_packing(_read(item))


@contextlib.contextmanager
def turn() -> Iterator[None]:
    """Inside, a search may run. Raises InputError where others have taken too long."""
    if not _searching.acquire(timeout=LONGEST_TURN_S):
        raise InputError("other searches have not ended for a minute: try again later")
    try:
        warm(5.0)
        yield
    finally:
        _searching.release()
