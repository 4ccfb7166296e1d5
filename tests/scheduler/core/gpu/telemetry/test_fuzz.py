"""Every reader under mutated samples: it reads what it can, counts the rest, and never fails otherwise.

STOWAGE_FUZZ_SECONDS sets how long each reader is tried (half a second by default; 100 for ten minutes in all).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from scheduler.core.gpu.telemetry.dcgm import DcgmReader
from scheduler.core.gpu.telemetry.gpud import gpud_signals
from scheduler.core.gpu.telemetry.inspector import InspectorReader
from scheduler.core.gpu.telemetry.inspector_metrics import read_inspector_metrics
from scheduler.core.gpu.telemetry.kernel_log import read_kernel_log
from scheduler.core.gpu.telemetry.node_state import NodeCondition, NodeState, node_signals
from scheduler.core.gpu.telemetry.nvsentinel import health_event_signals
from scheduler.core.gpu.telemetry.ras import read_ras
from scheduler.core.gpu.telemetry.ras_hang import diagnose_ras
from scheduler.core.gpu.telemetry.rejects import MOST_NAMED, Rejects
from tests.scheduler.core.gpu.telemetry.samples import (
    dcgm_scrape,
    gpud_events,
    gpud_states,
    health_event,
    inspector_line,
    inspector_metrics,
    ras_event,
    ras_status,
    xid_text,
)

SECONDS = float(os.environ.get("STOWAGE_FUZZ_SECONDS", "0.5"))
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(2**62, 2**80), st.floats(), st.text(max_size=9),
    st.sampled_from(["-1", "1e400", "NaN", "9" * 5000, "\0", "\ud800", "0x7f", "1_0", "٣", "²"]),
    st.just([]), st.just({}), st.just([[[]]]),
)  # fmt: skip


def mutated(value: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """The JSON value with a few of its parts replaced, taken away or doubled."""
    for _ in range(draw(st.integers(1, 4))):
        path, at = [], value
        while isinstance(at, dict | list) and at and draw(st.integers(0, 4)):
            key = draw(st.sampled_from(sorted(at, key=str) if isinstance(at, dict) else range(len(at))))
            path.append(key)
            at = at[key]
        value = _replaced(value, path, draw)
    return value


def _replaced(value: Any, path: list[Any], draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    if not path:
        return draw(ODD) if draw(st.booleans()) else [value, value]
    key, rest = path[0], path[1:]
    out = dict(value) if isinstance(value, dict) else list(value)
    if not rest and draw(st.integers(0, 2)) == 0:
        del out[key]
    else:
        out[key] = _replaced(out[key], rest, draw)
    return out


def torn(text: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """The text cut short, with bytes written over, or parts of it moved."""
    for _ in range(draw(st.integers(0, 3))):
        at, to = draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))
        way = draw(st.sampled_from(("cut", "over", "move", "repeat")))
        if way == "cut":
            text = text[:at]
        elif way == "over":
            text = text[:at] + draw(st.binary(max_size=8)) + text[at + 1 :]
        elif way == "move":
            text = text[to:] + text[:at]
        else:
            text = text + text[min(at, to) : max(at, to)][:4096]
    return text


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


INSPECTOR = [
    json.loads(line)
    for line in (
        *(inspector_line(rank, n, start_us=1e15 + n) for rank in range(3) for n in range(3)),
        inspector_line(0, 1, peer=2, op="Send"),
    )
]
RAS = [
    ras_status({0: 7, 1: 7, 2: None}, at="2026-03-01 10:00:00"),
    ras_status({0: 7, 1: 6, 2: None}, at="2026-03-01 10:01:00"),
    ras_event(),
]
LOG = "\n".join(
    prefix + xid_text(xid)
    for prefix, xid in (
        ("[Mon Feb 23 16:24:18 2026] ", 79), ("<3>[  117.98] ", 31), ("3,1,117984502,-;", 48),
        ("2026-02-23T16:24:18,5+00:00 ", 154), ("Feb 23 16:24:18 gpu-1 kernel: [ 1.5] ", 149),
        ('{"_HOSTNAME": "h", "__REALTIME_TIMESTAMP": "1790000000250000", "MESSAGE": "', 13),
        ("[1.2] nvidia-nvswitch0: SXid (PCI:0000:00:00.0): 20034, Fatal, Link 30 ", 1),
        ("[1.3] NVRM: GPU 0000:9b:00.0: GPU has fallen off the bus. ", 1),
    )
).encode()  # fmt: skip


def read_inspector(draw: Any) -> Rejects:
    reader = InspectorReader()
    records = [mutated(one, draw) if draw(st.integers(0, 3)) == 0 else one for one in INSPECTOR]
    reader.read(torn(b"\n".join(map(dumped, records)), draw).split(b"\n"))
    found = reader.operations()
    assert np.isfinite(found.exec_s).all()
    assert (found.exec_s > 0).all()
    assert (found.rank >= 0).all()
    assert all(0 <= code < len(found.processes) for code in found.process)
    return reader.rejects


def read_metrics(draw: Any) -> Rejects:
    rejects = Rejects()
    read_inspector_metrics(torn(inspector_metrics(), draw).split(b"\n"), rejects)
    return rejects


def read_polls(draw: Any) -> Rejects:
    rejects = Rejects()
    documents = mutated(RAS, draw)
    text = b"\n".join(dumped(one) for one in documents) if isinstance(documents, list) else dumped(documents)
    polls, events = read_ras(torn(text, draw).decode("utf-8", "replace"), rejects)
    for one in diagnose_ras(polls, events).accused:
        assert 0 < one.confidence <= 1
    return rejects


def read_log(draw: Any) -> Rejects:
    rejects = Rejects()
    written_s = draw(st.sampled_from((0.0, -1.0, 1e9, 1e11, 1e300, float("nan"))))
    read_kernel_log(torn(LOG, draw).split(b"\n"), rejects, "n", {}, written_s, draw(st.sampled_from((None, 0.0, 1e9))))
    return rejects


def read_scrapes(draw: Any) -> Rejects:
    reader = DcgmReader()
    for _ in range(2):
        extra = (("DCGM_EXP_XID_ERRORS_COUNT", ',xid="79",window_size_in_ms="3"', draw(st.floats(0, 9))),)
        reader.read(torn(dcgm_scrape(xid=draw(st.integers(0, 99)), extra=extra), draw).split(b"\n"), "n")
    return reader.rejects


def read_events(draw: Any) -> Rejects:
    rejects = Rejects()
    health_event_signals([mutated([health_event(), {"events": [health_event()]}], draw)], rejects, "n")
    health_event_signals([mutated(health_event(), draw)], rejects, "n")
    return rejects


def read_gpud(draw: Any) -> Rejects:
    rejects = Rejects()
    gpud_signals([mutated([*gpud_states(), *gpud_events()], draw)], rejects, "n")
    return rejects


def read_node(draw: Any) -> Rejects:
    rejects = Rejects()
    text = st.text(max_size=60)
    kind = st.sampled_from(("SysLogsXIDError", "KernelDeadlock", "GPUHealthy", "GpuMemWatch", "Ready"))
    message = st.one_of(text, st.sampled_from(("[79] GPU:3", "[,] - RecommendedAction: ", "[[[31]]", "[31,79] GPU 4")))
    condition = NodeCondition(draw(kind), draw(st.sampled_from(("True", "False", "", "Unknown"))), "", draw(message))
    key = st.sampled_from((
        "nvidia.com/gpu-fault", "nvidia.com/gpu-xid-error", "k8saas.nvidia.com/cordon-by", "quarantineHealthEvent",
    ))  # fmt: skip
    value = dumped(mutated([health_event()], draw)).decode() if draw(st.booleans()) else draw(text)
    marks = {draw(key): value}
    node_signals(NodeState("n", (condition,), marks, marks, marks), rejects)
    return rejects


READERS = (read_inspector, read_metrics, read_polls, read_log, read_scrapes, read_events, read_gpud, read_node)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_a_reader_survives_what_it_is_given(reader: Callable[[Any], Rejects]) -> None:
    ends, tried = time.monotonic() + SECONDS, 0

    @hypothesis.settings(max_examples=200, database=None, suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.data())
    def once(data: st.DataObject) -> None:
        nonlocal tried
        tried += 1
        rejects = reader(data.draw)
        assert len(rejects.named) == min(rejects.total, MOST_NAMED)

    seed = 0
    while not tried or time.monotonic() < ends:
        hypothesis.seed(seed)(once)()
        seed += 1
    print(f"{reader.__name__}: {tried} examples")
