"""Dumps as PyTorch writes them, for tests."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from scheduler.core.gpu.flight_recorder import STATES, Dump


def as_file(dump: Dump, version: str = "2.10") -> dict[str, Any]:
    """What a pickle or JSON file of the dump holds, with the fields that nobody reads here too."""
    entries = [
        {
            "frames": [{"name": "step", "filename": "train.py", "line": 12}],
            "record_id": n, "pg_id": int(dump.group[n]), "process_group": (dump.words[dump.group[n]], "default_pg"),
            "thread_name": "python", "thread_id": "139706979048320",
            "collective_seq_id": 0 if dump.is_p2p[n] else int(dump.sequence[n]),
            "p2p_seq_id": int(dump.sequence[n]) if dump.is_p2p[n] else 0, "op_id": n,
            "profiling_name": f"nccl:{dump.words[dump.name[n]]}", "time_created_ns": int(dump.created_ns[n]),
            "duration_ms": None if math.isnan(dump.duration_s[n]) else 1000 * float(dump.duration_s[n]),
            "input_sizes": [[20000]], "input_dtypes": ["Float"], "output_sizes": [[20000]], "output_dtypes": ["Float"],
            "state": STATES[dump.state[n]], "time_discovered_started_ns": None, "time_discovered_completed_ns": None,
            "retired": True, "timeout_ms": 600000, "is_p2p": bool(dump.is_p2p[n]),
        }
        for n in range(len(dump))
    ]  # fmt: skip
    groups = {name: {"name": name, "desc": "", "ranks": str(list(ranks))} for name, ranks in dump.members.items()}
    return {"version": version, "pg_config": groups, "comm_lib_version": "2.27.5", "pg_status": {}, "entries": entries}


def assert_same(one: Dump, other: Dump) -> None:
    """Two dumps say the same."""
    for name in ("rank", "members"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("group", "name"):
        assert [one.words[n] for n in getattr(one, name)] == [other.words[n] for n in getattr(other, name)]
    for name in ("sequence", "created_ns", "state", "is_p2p", "duration_s"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def as_pickle_bytes(dump: Dump) -> bytes:
    """The same as a pickle, quickly: as the protocol has it, with integers of one width.

    Every entry is one pattern of bytes, in which the numbers are put at their places.
    """
    words = [*dump.words, *STATES]
    head = bytearray(b"\x80\x02}q\x00(")
    memo: dict[str, int] = {}

    def text(word: str) -> bytes:
        if word in memo:
            at = memo[word]
            return bytes([0x68, at]) if at < 256 else b"j" + struct.pack("<I", at)
        memo[word] = len(memo) + 1
        raw = word.encode()
        return b"X" + struct.pack("<I", len(raw)) + raw + b"r" + struct.pack("<I", memo[word])

    head += text("version") + text("2.10") + text("pg_config") + b"}("
    for name, ranks in dump.members.items():
        head += text(name) + b"}(" + text("name") + text(name) + text("ranks") + text(str(list(ranks))) + b"u"
    # The words get their places in the memo before they are needed.
    head += b"u" + text("words") + b"](" + b"".join(map(text, words)) + b"e"
    keys = (
        "record_id", "process_group", "collective_seq_id", "p2p_seq_id", "profiling_name", "time_created_ns", "state",
        "duration_ms", "input_sizes", "input_dtypes", "output_sizes", "output_dtypes", "is_p2p", "frames", "retired",
        "timeout_ms", "op_id", "pg_id", "thread_name", "thread_id", "time_discovered_started_ns",
        "time_discovered_completed_ns",
    )  # fmt: skip
    head += text("keys") + b"](" + b"".join(map(text, keys)) + b"e" + text("entries") + b"]("
    entry = bytearray(b"}(")
    at = {}

    def put(key: str, opcode: bytes, width: int) -> None:
        entry.extend(text(key) + opcode)
        at[key] = slice(len(entry), len(entry) + width)
        entry.extend(bytes(width))

    put("record_id", b"J", 4)
    entry += text("process_group")
    entry += b"(j"
    at["group"] = slice(len(entry), len(entry) + 4)
    entry += bytes(4) + text("keys") + b"t"
    for key, opcode, width in (
        ("collective_seq_id", b"J", 4), ("p2p_seq_id", b"J", 4), ("profiling_name", b"j", 4),
        ("time_created_ns", b"\x8a\x08", 8), ("duration_ms", b"G", 8), ("state", b"j", 4),
    ):  # fmt: skip
        put(key, opcode, width)
    for sizes, types in (("input_sizes", "input_dtypes"), ("output_sizes", "output_dtypes")):
        entry += text(sizes) + b"](](M\x20\x4eee" + text(types) + b"](" + text("keys") + b"e"
    entry += text("frames") + b"](" + 9 * text("keys") + b"e"  # known ones by their number, as everything
    entry += text("op_id") + b"K\x01" + text("pg_id") + b"K\x01" + text("thread_name") + text("keys")
    entry += text("thread_id") + text("keys") + text("time_discovered_started_ns") + b"N"
    entry += text("time_discovered_completed_ns") + b"N" + text("retired") + b"\x88"
    entry += text("timeout_ms") + b"J\xc0\x27\x09\x00" + text("is_p2p")
    at["is_p2p"] = slice(len(entry), len(entry) + 1)
    entry += b"\x00u"
    rows = np.tile(np.frombuffer(bytes(entry), np.uint8), (len(dump), 1))
    number = np.array([memo[word] for word in words], "<u4")
    columns = {
        "record_id": np.arange(len(dump)).astype("<u4"), "group": number[dump.group],
        "collective_seq_id": np.where(dump.is_p2p, 0, dump.sequence).astype("<u4"),
        "p2p_seq_id": np.where(dump.is_p2p, dump.sequence, 0).astype("<u4"), "profiling_name": number[dump.name],
        "time_created_ns": dump.created_ns.astype("<i8"),
        "duration_ms": (1000.0 * dump.duration_s.astype(float)).astype(">f8"),
        "state": number[len(dump.words) + dump.state.astype(int)],
        "is_p2p": np.where(dump.is_p2p, 0x88, 0x89).astype(np.uint8),
    }  # fmt: skip
    for key, values in columns.items():
        rows[:, at[key]] = np.ascontiguousarray(values).view(np.uint8).reshape(len(dump), values.itemsize)
    return bytes(head) + rows.tobytes() + b"eu."
