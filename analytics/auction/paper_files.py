"""The requests of MOHAF's experiment: SUBMIT rows of Google ClusterData 2011 job_events, as published.

The published loader reads the first two parts, and of each its first 2,500 SUBMIT rows; scheduling class and user are
all it uses.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from analytics.errors import InputError
from scheduler.core.auction.paper_instance import CLASSES, SEED, PaperInstance, draw_instance

PARTS = 2
MOST_PER_PART = 2500
COLUMNS = 8  # time, missing info, job, event type, user, scheduling class, job name, logical job name
EVENT, USER, CLASS = 3, 4, 5
SUBMIT = "0"
NO_USER = "(not stated)"
GZIP = b"\x1f\x8b"


def find_parts(folder: Path) -> list[Path]:
    """The first parts of job_events in a folder, or in its subfolder of that name; empty where there are none."""
    for place in (folder, folder / "job_events"):
        parts = sorted(path for path in place.glob("part-*-of-*.csv*") if path.suffix in (".csv", ".gz"))
        if parts:
            return parts[:PARTS]
    return []


def read_paper_instance(parts: Sequence[Path], seed: int = SEED) -> PaperInstance:
    """The published instance of these parts of job_events, in this order. Raises InputError with file and row."""
    return draw_instance(*read_jobs(parts), seed)


def read_jobs(parts: Sequence[Path]) -> tuple[list[int], list[str]]:
    """(scheduling class, user) of the requests in these parts, in this order. Raises InputError with file and row."""
    classes: list[int] = []
    users: list[str] = []
    for part in parts:
        for number, (one, user) in enumerate(_submits(part)):
            if number == MOST_PER_PART:
                break
            classes.append(one)
            users.append(user)
    if len(classes) < CLASSES:
        where = ", ".join(map(str, parts))
        raise InputError(f"{where}: {len(classes)} SUBMIT rows are no instance, it takes {CLASSES} or more")
    return classes, users


def _submits(path: Path) -> Iterator[tuple[int, str]]:
    """Scheduling class and user of every SUBMIT row."""
    with _open(path) as file:
        try:
            for row, cells in enumerate(csv.reader(file), 1):
                if len(cells) != COLUMNS:
                    raise InputError(f"{path}, row {row}: {len(cells)} columns; job_events of 2011 has {COLUMNS}")
                if cells[EVENT] != SUBMIT:
                    continue
                if cells[CLASS] not in map(str, range(CLASSES)):
                    rule = f"a scheduling class is 0 to {CLASSES - 1}"
                    raise InputError(f"{path}, row {row}: scheduling class {cells[CLASS]!r}; {rule}")
                yield int(cells[CLASS]), cells[USER] or NO_USER
        except (OSError, EOFError, UnicodeError, csv.Error) as error:
            raise InputError(f"{path} cannot be read as job_events: {error}") from error


@contextmanager
def _open(path: Path) -> Iterator[io.TextIOBase]:
    try:
        with path.open("rb") as raw:
            is_packed = raw.read(2) == GZIP
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    with gzip.open(path, "rt", newline="") if is_packed else path.open(newline="") as file:
        yield file
