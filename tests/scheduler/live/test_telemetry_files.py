"""`stowage diagnose` on folders of telemetry: recognised by content, judged together, the broken named."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.live.telemetry_files import kind_of, read_telemetry
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

ROOT = Path(__file__).resolve().parents[3]
NODE: dict[str, Any] = {
    "kind": "Node", "metadata": {"name": "n7", "resourceVersion": "1"},
    "status": {"conditions": [{
        "type": "SysLogsXIDError", "status": "True", "message": "[79] GPU:2 - RecommendedAction: RESTART_BM",
        "lastTransitionTime": "2026-03-01T10:00:00Z",
    }]},
}  # fmt: skip
LOG = f"[Mon Feb 23 16:24:18 2026] {xid_text(79)}\n".encode()


def diagnose(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "stowage.py"), "diagnose", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (inspector_line(), "inspector"),
        (inspector_metrics(), "inspector-metrics"),
        (json.dumps(ras_status({0: 1})).encode(), "ras"),
        (json.dumps(ras_event(), indent=1).encode(), "ras"),
        (LOG, "kernel-log"),
        (b"[    0.000000] Linux version 6.8\n[    0.1] all is well\n", "kernel-log"),
        (b'{"MESSAGE": "x", "__REALTIME_TIMESTAMP": "1"}', "kernel-log"),
        (dcgm_scrape(), "dcgm"),
        (json.dumps(health_event()).encode(), "nvsentinel"),
        (json.dumps(gpud_states()).encode(), "gpud"),
        (json.dumps(gpud_events()).encode(), "gpud"),
        (json.dumps({"kind": "NodeList", "items": []}).encode(), "nodes"),
        (json.dumps({"kind": "List", "items": [NODE]}, indent=4).encode(), "nodes"),
        (b"", None),
        (b"hello\nworld\n", None),
        (b"metric 1\n", None),
        (pickle.dumps({"version": "2.10", "entries": []}), None),
        (b'{"version": "2.10", "entries": [], "nccl_version": "2.29", "pg_config": {}}', None),
        (b'{"kind": "Pod"}', None),
    ],
)
def test_files_are_known_by_what_is_in_them(content: bytes, kind: str | None) -> None:
    assert kind_of(content) == kind


def test_a_folder_of_everything(tmp_path: Path) -> None:
    counts: dict[int, int | None] = dict.fromkeys(range(16), 40) | {11: 39}
    polls = [ras_status(counts, at=f"2026-03-01 10:00:{second:02d}") for second in (0, 20)]
    broken_node = {"kind": "Node", "metadata": 7}
    files: dict[str, bytes] = {
        "polls": "\n".join(json.dumps(one, indent=1) for one in polls).encode(),
        "inspector_0": inspector_line() + b"\nbroken\n",
        "h1.log": b"[Sun Mar  1 10:00:10 2026] " + xid_text(79).encode(),
        "scrape.txt": dcgm_scrape(gpu=3).replace(b'"n1"', b'"h1"'),
        "sentinel": json.dumps(health_event(nodeName="n8")).encode(),
        "nodes.json": json.dumps({"kind": "List", "items": [NODE, {"kind": "Pod"}, broken_node]}).encode(),
        "n9/gpud.json": json.dumps(gpud_states()).encode(),
        "n9/kernel": b"[  1.5] " + xid_text(31).encode(),
        "means.prom": inspector_metrics(),
        "readme": b"notes",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    done = diagnose(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "non-communication hang"
    hung, *broken = told["accused"]
    assert (hung["rank"], hung["host"], hung["gpu"]) == (11, "h1", 3)  # the scrape says which GPU has that address
    assert "15 of 16 ranks are ahead" in hung["evidence"]
    assert "xid-79 by kernel-log" in hung["evidence"]
    assert [(one["rank"], one["host"], one["gpu"], one["syndrome"]) for one in broken] == [
        (None, "n7", 2, "hardware fault"), (None, "n8", 3, "hardware fault"), (None, "n9", None, "hardware fault"),
    ]  # fmt: skip
    seen = {(one["node"], one["code"], one["severity"]) for one in told["signals"]}
    assert {("h1", "xid-79", "fatal"), ("n9", "xid-31", "warning"), ("n9", "gpud-ecc", "fatal")} <= seen
    bad = {Path(one["file"]).name: one for one in told["unreadable"]}
    assert bad.keys() == {"inspector_0", "nodes.json"}
    assert bad["inspector_0"]["first"][0]["line"] == 2
    text = diagnose(tmp_path)
    assert "rank 11, host h1, gpu 3: non-communication hang" in text.stdout
    assert "nodes.json: nodes: line 1: Node: " in text.stderr


def test_software_alone_accuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "h1.log").write_bytes(b"\n".join(b"[ 1.5] " + xid_text(xid).encode() for xid in (13, 31, 43, 45, 31)))
    told = json.loads(diagnose(tmp_path, "--json").stdout)
    assert (told["verdict"], told["accused"]) == ("healthy", [])
    assert {(one["code"], one["count"]) for one in told["signals"]} == {
        ("xid-13", 1), ("xid-31", 2), ("xid-43", 1), ("xid-45", 1),
    }  # fmt: skip
    assert "nobody is accused" in diagnose(tmp_path).stdout


def test_dumps_and_telemetry_together(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "job"
    shutil.copytree(shared_data("gpu/flight_recorder/hang_rank3"), folder)
    counts: dict[int, int | None] = dict.fromkeys(range(8), 40) | {3: 39}
    polls = [ras_status(counts, at=f"2026-03-01 10:00:{second:02d}") for second in (0, 20)]
    (folder / "ras_1").write_text("\n".join(map(json.dumps, polls)))  # a name that ends in a number, and is no dump
    (folder / "dmesg.0").write_bytes(LOG)
    told = json.loads(diagnose(folder, "--json").stdout)
    assert told["verdict"] == "non-communication hang"
    hung, broken = told["accused"]
    assert (hung["rank"], hung["host"], hung["gpu"]) == (3, "h0", 3)
    assert "in all_reduce 38 of group 1" in hung["evidence"]
    assert "7 of 8 ranks are ahead" in hung["evidence"]
    assert (broken["host"], broken["syndrome"]) == ("dmesg", "hardware fault")
    (folder / "ras_1").unlink()
    (folder / "dmesg.0").unlink()
    alone = json.loads(diagnose(folder, "--json").stdout)
    assert alone["accused"][0]["rank"] == 3
    assert "signals" not in alone


def test_scrapes_follow_one_another_by_age(tmp_path: Path) -> None:
    for age, (name, xid) in enumerate((("b", 0), ("a", 79), ("c", 79))):
        (tmp_path / name).write_bytes(dcgm_scrape(xid=xid))
        os.utime(tmp_path / name, (1_790_000_000 + age, 1_790_000_000 + age))
    found = read_telemetry(tmp_path)
    assert [(one.code, one.severity, one.time_s) for one in found.signals] == [("xid-79", "fatal", 1_790_000_001.0)]


def test_what_cannot_be_opened_or_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.live.telemetry_files.MOST_BYTES", 10)
    (tmp_path / "log").write_bytes(LOG)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = read_telemetry(tmp_path)
    assert found.signals == []
    (one,) = found.unreadable
    assert "more than 10" in one["why"]


def test_the_samples_of_the_vendors_are_read(shared_data: Callable[[str], Path]) -> None:
    found = read_telemetry(shared_data("gpu/telemetry_samples"))
    assert sorted(found.files.values()) == [
        "inspector", "inspector-metrics", "kernel-log", "nvsentinel", "ras", "ras",
    ]  # fmt: skip
    assert found.unreadable == []
    assert (found.verdict.accused[0].rank, found.verdict.accused[0].host) == (1, "172.16.64.245")
