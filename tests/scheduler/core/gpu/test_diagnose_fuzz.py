"""Dumps that are wrong in every way, one field or byte at a time: a diagnosis or a clear error, nothing else.

STOWAGE_FUZZ_SECONDS sets how long it is tried (3 by default; 600 for the ten minutes of a full run).
"""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import time

import numpy as np

from scheduler.core.gpu.flight_recorder import DumpError, read_dump
from scheduler.core.gpu.syndromes import diagnose
from tests.scheduler.core.gpu.dump_files import as_file, assert_same
from tests.scheduler.core.gpu.job_simulator import LAYOUTS, Fault, Noise, dumps_of, simulate

SECONDS = float(os.environ.get("STOWAGE_FUZZ_SECONDS", "3"))
ODD = (
    None, True, -1, 0, 2**31, 2**62, -(2**63), 2**63, 1e308, float("nan"), "", "3", "x" * 500, "\u00e9\ud800", b"x", [],
    {}, (), [[]], {"name": 3}, "send 0->1", "nccl:recv 1<-0", "[0, 1, 99999999]", "started",
)  # fmt: skip


def a_job(rng: random.Random) -> list[dict[str, object]]:
    """The files of a small job with or without a fault."""
    layout, numbers = rng.choice(LAYOUTS)(8), np.random.default_rng(rng.getrandbits(32))
    fault = Fault(rng.choice(["stop", "queue", "slow", "network"]), (rng.randrange(8),), 1, rng.randrange(3), 0.5)
    noise = Noise(clock_s=rng.choice([0.0, 2.0, 1e5]))
    job = simulate(layout, rng.choice([2, 12]), noise, rng.choice([fault, None]), numbers)
    found = dumps_of(job, numbers, noise, ring=40, has_states=rng.random() < 0.7, has_durations=rng.random() < 0.3)
    return [as_file(dump) for dump in found]


def spoil(file: dict[str, object], rng: random.Random) -> None:
    """Change one thing of a file."""
    entries = file["entries"]
    if not isinstance(entries, list):
        return
    kind = rng.randrange(7)
    entry = rng.choice([one for one in entries if isinstance(one, dict) and one] or [{"": None}])
    if kind == 0:
        file[rng.choice([*file])] = copy.deepcopy(rng.choice(ODD))
    elif kind == 1:
        entry[rng.choice([*entry])] = copy.deepcopy(rng.choice(ODD))
    elif kind == 2:
        del entry[rng.choice([*entry])]
    elif kind == 3:
        del entries[rng.randrange(len(entries) + 1) :]
    elif kind == 4:
        del entries[: rng.randrange(len(entries) + 1)]
    elif kind == 5:
        entries.append(dict(entry))
    else:
        rng.shuffle(entries)


def test_spoiled_dumps_give_a_diagnosis_or_a_clear_error() -> None:
    rng = random.Random(int(os.environ.get("STOWAGE_FUZZ_SEED", "1")))
    until = time.monotonic() + SECONDS
    jobs = refused = 0
    while time.monotonic() < until or jobs < 10:
        jobs += 1
        read = []
        for rank, file in enumerate(a_job(rng)):
            for _ in range(rng.choice([0, 0, 1, 3])):
                spoil(file, rng)
            try:
                data = pickle.dumps(file, rng.randrange(6)) if rng.random() < 0.7 else json.dumps(file).encode()
            except (TypeError, UnicodeEncodeError):
                continue  # what JSON cannot hold, no JSON file holds
            if rng.random() < 0.2:
                at = rng.randrange(len(data))
                data = data[:at] + rng.randbytes(rng.randrange(4)) + data[at + rng.randrange(3) :]
            try:
                read.append(read_dump(data, rank))
            except DumpError as error:
                refused += len(str(error)) > 0
                continue
            assert_same(read[-1], read_dump(data, rank, compiled=True))
        found = diagnose(read, [rng.randrange(20)] if rng.random() < 0.2 else [], rng.choice([None, 5.0, 1e9]))
        assert all(0 <= one.confidence <= 1 and one.evidence for one in found.accused)
        assert [one.rank for one in diagnose(read[::-1]).accused] == [one.rank for one in diagnose(read).accused]
    print(f"{jobs} jobs, {refused} files refused")
    assert refused


def test_a_clock_that_is_off_by_a_century_stops_nothing() -> None:
    files = a_job(random.Random(2))
    dumps = [read_dump(pickle.dumps(file), rank) for rank, file in enumerate(files)]
    moved = read_dump(pickle.dumps(files[0]), 0)
    moved.created_ns[:] -= 2**62
    assert diagnose([moved, *dumps[1:]]).verdict
