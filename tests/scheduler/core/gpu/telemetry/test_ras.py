"""Polls of NCCL's RAS: who is behind and does not move, not who is ahead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.gpu.findings import Findings
from scheduler.core.gpu.telemetry.ras import read_ras
from scheduler.core.gpu.telemetry.ras_hang import diagnose_ras
from scheduler.core.gpu.telemetry.rejects import Rejects
from tests.scheduler.core.gpu.telemetry.samples import ras_event, ras_status


def read(*documents: Any, indent: int | None = 1) -> tuple[Findings, Rejects]:
    rejects = Rejects()
    polls, events = read_ras("\n".join(json.dumps(one, indent=indent) for one in documents), rejects)
    return diagnose_ras(polls, events), rejects


def poll(counts: dict[int, int | None], second: int, **more: Any) -> dict[str, Any]:
    return ras_status(counts, at=f"2026-03-01 10:{second // 60:02d}:{second % 60:02d}", **more)


def test_one_poll_accuses_nobody() -> None:
    found, _ = read(ras_status({0: 7, 1: 7, 2: 6}))
    assert found.accused == []
    assert found.verdict == "undecided"
    assert "poll again" in found.notes[0]


def test_who_is_behind_over_two_polls_is_the_culprit() -> None:
    counts: dict[int, int | None] = dict.fromkeys(range(16), 40) | {11: 39}
    found, rejects = read(poll(counts, 0), poll(counts, 15))
    assert rejects.total == 0
    assert found.verdict == "non-communication hang"
    (one,) = found.accused
    assert (one.rank, one.host, one.gpu, one.syndrome) == (11, "h1", 3, "non-communication hang")
    assert "15 of 16 ranks are ahead" in one.evidence
    assert "15 s" in one.evidence


def test_a_job_that_moves_on_hangs_nowhere() -> None:
    found, _ = read(poll({0: 7, 1: 7, 2: 6}, 0), poll({0: 9, 1: 9, 2: 8}, 15))
    assert found.verdict == "healthy"
    assert found.accused == []


def test_two_copies_of_one_poll_are_one() -> None:
    one = poll({0: 7, 1: 7, 2: 6}, 0)
    assert read(one, one)[0].verdict == "undecided"


def test_few_ahead_are_victims_of_many_behind() -> None:
    counts: dict[int, int | None] = dict.fromkeys(range(30), 39) | {30: 40, 31: 40}
    found, _ = read(poll(counts, 0), poll(counts, 15))
    assert sorted(one.rank for one in found.accused if one.rank is not None) == list(range(30))


def test_who_is_behind_because_it_waits_elsewhere_is_a_victim() -> None:
    """Rank 2 stops; 3 waits for it in 0xb, 1 for 3 in 0xc, 0 for 1 in 0xa."""
    places = {"0xa": {0: 0, 1: 1}, "0xb": {0: 2, 1: 3}, "0xc": {0: 1, 1: 3}, "0xw": {n: n for n in range(4)}}
    counts: dict[str, dict[int, int | None]] = {
        "0xa": {0: 10, 1: 9}, "0xb": {0: 9, 1: 10}, "0xc": {0: 10, 1: 9}, "0xw": dict.fromkeys(range(4), 3),
    }  # fmt: skip
    polls = []
    for second in (0, 20):
        whole = poll(counts["0xw"], second, communicator="0xw")
        for name in ("0xa", "0xb", "0xc"):
            one = poll(counts[name], second, communicator=name, world=places[name])
            whole["communicators"] += one["communicators"]
        polls.append(whole)
    found, rejects = read(*polls)
    assert rejects.total == 0
    assert [one.rank for one in found.accused] == [2]


def test_the_last_of_several_behind_is_the_culprit() -> None:
    counts: dict[int, int | None] = {0: 7, 1: 6, 2: 5}
    found, _ = read(poll(counts, 0), poll(counts, 5))
    assert [one.rank for one in found.accused] == [2]


def test_a_dead_process_is_accused_and_those_that_wait_for_it_are_not() -> None:
    counts: dict[int, int | None] = {0: 7, 1: None, 2: 6, 3: 7}
    found, _ = read(poll(counts, 0), poll(counts, 15), ras_event())
    (one,) = found.accused
    assert (one.rank, one.host, one.gpu) == (1, "h0", 1)
    assert "PEER_DEAD" in one.evidence
    considered, _ = read(poll(counts, 0, dead=True))
    assert [one.rank for one in considered.accused] == [1]


def test_silence_in_one_poll_is_told_and_accuses_nobody() -> None:
    found, _ = read(ras_status({0: 7, 1: None}))
    assert found.accused == []
    assert "dead or only slow" in found.notes[0]
    twice, _ = read(poll({0: 7, 1: None}, 0), poll({0: 8, 1: None}, 15))
    assert [one.rank for one in twice.accused] == [1]
    back, _ = read(poll({0: 7, 1: None}, 0), poll({0: 8, 1: 8}, 15))
    assert back.accused == []


def test_equal_counts_that_stand_still_are_a_hang_without_a_culprit() -> None:
    counts: dict[int, int | None] = dict.fromkeys(range(4), 7)
    found, _ = read(poll(counts, 0), poll(counts, 90))
    assert (found.verdict, found.accused) == ("communication hang", [])
    assert "90 s" in found.notes[0]
    assert read(poll(counts, 0), poll(counts, 10))[0].verdict == "healthy"


def test_ranks_that_report_an_error_are_told() -> None:
    status = ras_status({0: 1, 1: 1})
    status["communicators"][0]["ranks"][1]["status"]["async_error"] = 6
    assert "ranks 1 report" in read(status)[0].notes[0]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda s: s["communicators"][0]["ranks"].append(s["communicators"][0]["ranks"][0]), "is there twice"),
        (lambda s: s["communicators"].append(s["communicators"][0]), "is there twice"),
        (lambda s: s["communicators"][0]["ranks"][0].pop("rank"), "missing required field `rank`"),
        (lambda s: s["communicators"][0]["ranks"][0].update(rank=99), "which has 3"),
        (lambda s: s["communicators"][0]["ranks"][0]["collective_counts"].update(AllReduce=-1), "out of range"),
        (lambda s: s["communicators"].append(7), "communicator: Expected"),
        (lambda s: s.update(communicators=7), "neither an answer of RAS"),
    ],
)
def test_broken_parts_are_named_and_the_rest_is_read(change: Callable[[dict[str, Any]], Any], rule: str) -> None:
    status = ras_status({0: 7, 1: 7, 2: 6})
    change(status)
    found, rejects = read(status)
    assert rejects.total == 1
    assert rule in rejects.named[0].rule
    assert found.accused == []


def test_answers_that_were_cut_short_do_not_hide_the_next() -> None:
    whole = json.dumps(poll({0: 7, 1: 6}, 0))
    rejects = Rejects()
    polls, _ = read_ras(f"{whole[:200]}\n{whole}\n{whole}", rejects)
    assert len(polls) == 2
    assert rejects.named[0].line == 1
    assert "broken JSON" in rejects.named[0].rule


def test_nothing_and_a_hundred_thousand_ranks() -> None:
    assert read()[0].verdict == "undecided"
    assert read({"communicators": []})[0].verdict == "healthy"
    counts: dict[int, int | None] = dict.fromkeys(range(100_000), 40) | {70_001: 39}
    found, rejects = read(poll(counts, 0), poll(counts, 15), indent=None)
    assert [one.rank for one in found.accused] == [70_001]
    assert rejects.total == 0
    assert read_ras("[" * 200_000, rejects) == ([], [])
    assert rejects.total == 1


def test_the_samples_of_nvidia_are_read(shared_data: Callable[[str], Path]) -> None:
    folder = shared_data("gpu/telemetry_samples")
    rejects = Rejects()
    polls, _ = read_ras((folder / "nccl_ras_status.json").read_text(), rejects)
    _, events = read_ras((folder / "nccl_ras_monitor_event.json").read_text(), rejects)
    assert rejects.total == 0
    (one,) = diagnose_ras(polls, events).accused
    assert (one.rank, one.host, one.gpu) == (1, "172.16.64.245", 1)
