"""The requests of the published auction experiment (arXiv 2508.14830), once or many times over."""

from __future__ import annotations

import csv
import gzip

import numpy as np

from scheduler.core.auction.paper_instance import PaperInstance, draw_instance
from tests.benchmarks.harness import REAL

PARTS = [REAL / "job_events" / f"part-0000{number}-of-00500.csv.gz" for number in (0, 1)]
MOST_PER_PART = 2500
# Of the 3,553 requests of the real files, how many are of scheduling class 0, 1, 2, 3.
CLASS_COUNTS = (747, 955, 1123, 728)


def paper_instance(times: int = 1) -> tuple[str, PaperInstance]:
    """What it is, and the instance: classes and users repeat, machines and places are drawn for each."""
    jobs: list[tuple[int, str]] = []
    if all(part.exists() for part in PARTS):
        what = "SUBMIT rows of the real job_events, parts 0 and 1"
        for part in PARTS:
            with gzip.open(part, "rt", newline="") as file:
                jobs += [(int(row[5]), row[4]) for row in csv.reader(file) if row[3] == "0"][:MOST_PER_PART]
    else:
        what = "as many requests of each class as the real files have (../shared/data/google2011 is not there)"
        classes = np.random.default_rng(1).permutation(np.repeat(range(4), CLASS_COUNTS))
        jobs = [(int(one), f"user-{row % 100:02d}") for row, one in enumerate(classes)]
    return what, draw_instance([one for one, _ in jobs] * times, [user for _, user in jobs] * times)
