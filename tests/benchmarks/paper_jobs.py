"""The requests of the published auction experiment (arXiv 2508.14830), once or many times over."""

from __future__ import annotations

import numpy as np

from analytics.auction.paper_files import find_parts, read_jobs
from scheduler.core.auction.paper_instance import PaperInstance, draw_instance
from tests.benchmarks.harness import REAL

# Of the 3,553 requests of the real files, how many are of scheduling class 0, 1, 2, 3.
CLASS_COUNTS = (747, 955, 1123, 728)


def paper_instance(times: int = 1) -> tuple[str, PaperInstance]:
    """What it is, and the instance: classes and users repeat, machines and places are drawn for each."""
    parts = find_parts(REAL)
    if parts:
        what = "SUBMIT rows of the real job_events, parts 0 and 1"
        classes, users = read_jobs(parts)
    else:
        what = "as many requests of each class as the real files have (../shared/data/google2011 is not there)"
        classes = np.random.default_rng(1).permutation(np.repeat(range(4), CLASS_COUNTS)).tolist()
        users = [f"user-{row % 100:02d}" for row in range(len(classes))]
    return what, draw_instance(classes * times, users * times)
