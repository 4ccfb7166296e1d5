"""A folder of Flight Recorder dumps, a file per rank, read by several threads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from scheduler.core.errors import StowageInputError
from scheduler.core.gpu.flight_recorder import MOST_BYTES, Dump, DumpError, rank_in, read_dump

LARGE_BYTES: Final = 4 << 20
"""From here on the compiled reader is worth the most of a second that it takes to load."""
MOST_RANKS: Final = 1 << 20


def files_by_rank(paths: Iterable[Path]) -> dict[int, Path]:
    """The file of each rank, by rank; files whose name ends in no rank are passed over.

    Raises StowageInputError where two are of one rank, or a rank is beyond reason.
    """
    files: dict[int, Path] = {}
    for path in sorted(paths):
        rank = rank_in(path.name)
        if rank is None:
            continue
        if rank >= MOST_RANKS:
            raise StowageInputError(f"{path}: its name ends in rank {rank}, and a job has fewer than {MOST_RANKS}")
        if rank in files:
            raise StowageInputError(
                f"{path.parent}: {files[rank].name} and {path.name} are both of rank {rank}: remove one"
            )
        files[rank] = path
    return dict(sorted(files.items()))


def read_dumps(files: Mapping[int, Path]) -> tuple[list[Dump], dict[int, str]]:
    """The dumps of the ranks, and why those of others cannot be read.

    Raises StowageInputError where none can.
    """
    sizes = {rank: _size(path) for rank, path in files.items()}
    is_large = sum(sizes.values()) > LARGE_BYTES and find_spec("numba") is not None

    def read(rank: int) -> Dump | str:
        if sizes[rank] > MOST_BYTES:  # before it is in memory
            return f"{sizes[rank]} bytes, more than {MOST_BYTES}"
        try:
            return read_dump(files[rank].read_bytes(), rank, compiled=is_large)
        except (DumpError, OSError) as error:
            return str(error)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = dict(zip(files, pool.map(read, files), strict=True))
    unreadable = {rank: one for rank, one in found.items() if isinstance(one, str)}
    if len(unreadable) == len(files):
        first = min(unreadable)
        raise StowageInputError(f"{files[first]}: {unreadable[first]}; no dump of {files[first].parent} can be read")
    return [one for one in found.values() if isinstance(one, Dump)], unreadable


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will say why
