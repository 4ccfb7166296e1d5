"""Operations of NCCL Inspector: who comes last, and which communicator is slower than it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from scheduler.core.gpu.findings import Findings
from scheduler.core.gpu.telemetry.inspector import InspectorReader, Operations
from scheduler.core.gpu.telemetry.inspector_slow import diagnose_operations, point_to_point
from tests.scheduler.core.gpu.telemetry.samples import T0_US, inspector_line


def job(
    *, ranks: int = 16, steps: int = 60, late_ms: dict[int, float] | None = None, transfer_ms: float = 10.0,
    slower_from: int | None = None, slower: float = 1.5, jitter: float = 0.03, verbose: bool = False,
    skew_s: dict[int, float] | None = None, seed: int = 0, keep: float = 1.0,
) -> Iterator[bytes]:  # fmt: skip
    """AllReduces of a data-parallel job of 8 ranks a host.

    late_ms: how much later than the others a rank comes. skew_s: what a host's clock is ahead by. keep: the share of
    records that survive.
    """
    rng = np.random.default_rng(seed)
    for step in range(steps):
        comes = np.array([(late_ms or {}).get(rank, 0.0) for rank in range(ranks)])
        comes = comes + rng.exponential(jitter * transfer_ms, ranks)
        takes = transfer_ms * (slower if slower_from is not None and step >= slower_from else 1.0)
        takes *= 1 + rng.exponential(jitter)
        end = comes.max() + takes
        for rank in range(ranks):
            if rng.random() < keep:
                clock = T0_US + 1e6 * (skew_s or {}).get(rank // 8, 0.0)
                start_us = clock + 1e6 * step + 1e3 * comes[rank]
                yield inspector_line(
                    rank, step, ranks=ranks, took_us=1e3 * (end - comes[rank]), start_us=start_us if verbose else None
                )


def read(*jobs: Iterator[bytes]) -> Operations:
    reader = InspectorReader()
    for lines in jobs:
        reader.read(lines)
    assert reader.rejects.total == 0
    return reader.operations()


def found(*jobs: Iterator[bytes]) -> Findings:
    return diagnose_operations(read(*jobs))


@pytest.mark.parametrize("seed", range(5))
def test_a_healthy_job_accuses_nobody(seed: int) -> None:
    told = found(job(seed=seed))
    assert (told.verdict, told.accused, told.notes) == ("healthy", [], [])


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_with_the_shortest_times_is_the_late_one(seed: int) -> None:
    told = found(job(late_ms={11: 5.0}, seed=seed))
    assert told.verdict == "non-communication slow"
    (one,) = told.accused
    assert (one.rank, one.host, one.syndrome) == (11, "h1", "non-communication slow")
    assert "the others wait for it in communicator 0xabc" in one.evidence


def test_clocks_seconds_apart_change_nothing() -> None:
    told = found(job(late_ms={11: 5.0}, verbose=True, skew_s={0: 7.0}))
    (one,) = told.accused
    assert one.rank == 11
    assert "ms after the others of its host" in one.evidence
    assert one.confidence > found(job(late_ms={11: 5.0})).accused[0].confidence
    assert found(job(verbose=True, skew_s={0: 7.0})).accused == []


def test_lost_records_do_not_hide_it_and_too_few_decide_nothing() -> None:
    assert [one.rank for one in found(job(late_ms={3: 5.0}, keep=0.9)).accused] == [3]
    told = found(job(late_ms={3: 5.0}, steps=5))
    assert (told.verdict, told.accused) == ("undecided", [])
    assert "no communicator has" in told.notes[0]
    assert found(job(late_ms={1: 5.0}, ranks=2)).verdict == "undecided"


def test_who_is_late_because_it_waits_elsewhere_is_a_victim() -> None:
    """Ranks 0 to 3 share a tensor-parallel group, 1 comes late there, so all four come late to the whole job."""

    def group() -> Iterator[bytes]:
        rng = np.random.default_rng(1)
        for step in range(60):
            for rank in range(4):
                took = 2.0 + (0.0 if rank == 1 else 6.0) + rng.exponential(0.05)
                yield inspector_line(rank, step, ranks=4, communicator="0xtp", took_us=1e3 * took)

    late = dict.fromkeys(range(4), 6.0)
    told = found(job(late_ms=late), group())
    assert [one.rank for one in told.accused] == [1]


def test_a_communicator_slower_than_it_was_is_told_and_accuses_nobody() -> None:
    told = found(job(slower_from=45))
    assert (told.verdict, told.accused) == ("communication slow", [])
    assert "takes 1.49 times" in told.notes[0]
    assert "h0, h1" in told.notes[0]
    assert found(job(slower_from=45, slower=1.05)).verdict == "healthy"


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_communicator_is_not_slower_than_it_was(seed: int) -> None:
    assert found(job(jitter=0.15, seed=seed, steps=80)).verdict == "healthy"


def test_sends_become_rows_of_the_delay_matrix() -> None:
    lines = [
        inspector_line(0, 1, ranks=2, communicator="0xpp", peer=1, op="Send", took_us=500, pid=1004),
        inspector_line(1, 1, ranks=2, communicator="0xpp", peer=0, op="Recv", took_us=700, pid=1006, host="h0"),
        inspector_line(4, 1, took_us=9),
        inspector_line(6, 1, took_us=9),
        inspector_line(4, 2, peer=7, op="Send", took_us=100, size=64),
    ]
    reader = InspectorReader()
    reader.read(lines)
    assert reader.rejects.total == 0
    table = point_to_point(reader.operations())
    assert table.src.tolist() == [4, 4]
    assert table.dst.tolist() == [6, 7]  # 7 has no records, but the communicator is the job's
    assert table.seconds.tolist() == pytest.approx([500e-6, 100e-6])
    assert table.bytes.tolist() == [1 << 26, 64]
    assert len(point_to_point(read(job(steps=1))).src) == 0
    assert len(point_to_point(InspectorReader().operations()).src) == 0


def test_only_receives_are_turned_round() -> None:
    table = point_to_point(read(iter([inspector_line(4, 1, peer=2, op="Recv", took_us=7)])))
    assert (table.src.tolist(), table.dst.tolist()) == ([2], [4])


def test_nothing_was_recorded() -> None:
    assert diagnose_operations(InspectorReader().operations()).verdict == "undecided"
