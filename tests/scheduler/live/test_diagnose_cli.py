"""`stowage diagnose`: what it prints, and what it refuses."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "stowage.py"), "diagnose", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_culprit_is_named_with_the_evidence(shared_data: Callable[[str], Path]) -> None:
    done = run(shared_data("gpu/flight_recorder/hang_rank3"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "non-communication hang"
    (one,) = told["accused"]
    assert one["rank"] == 3
    assert one["syndrome"] == "non-communication hang"
    assert "ranks 0, 1, 2 are in all_reduce 38 of group 1" in one["evidence"]
    assert told["missing_ranks"] == []


def test_unreadable_dumps_count_as_missing_and_are_named(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "dumps"
    shutil.copytree(shared_data("gpu/flight_recorder/slow_rank5"), folder)
    (folder / "nccl_trace_rank_2").write_bytes(pickle.dumps({"version": "2.10", "entries": [print]}))
    whole = (folder / "nccl_trace_rank_7").read_bytes()
    (folder / "nccl_trace_rank_7").write_bytes(whole[: len(whole) // 2])
    done = run(folder, "--json", "--ranks", 8)
    told = json.loads(done.stdout)
    assert [one["rank"] for one in told["accused"]] == [5]
    assert told["missing_ranks"] == [2, 7]
    assert [one["rank"] for one in told["unreadable"]] == [2, 7]
    assert "asks for builtins.print" in told["unreadable"][0]["why"]
    text = run(folder)
    assert "nccl_trace_rank_2: the pickle asks for" in text.stderr
    assert "rank 5: non-communication slow" in text.stdout


def test_what_is_no_folder_of_dumps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    for words, says in (
        ((tmp_path / "none",), "no such folder"),
        ((tmp_path,), "no file's name ends in a rank"),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert says in done.stderr
    for name in ("trace_1", "trace_1.json"):
        (tmp_path / name).write_bytes(b"{}")
    assert "both of rank 1" in run(tmp_path).stderr
    (tmp_path / "trace_1.json").unlink()
    assert "no dump of" in run(tmp_path).stderr


def test_a_table_of_operations_accuses_the_worker_that_computes_slower(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    told = json.loads(run(shared_data("gpu/bytedance_straggler/trace-AR.parquet"), "--json").stdout)
    assert [(one["dp"], one["stage"]) for one in told["accused"]] == [(0, 0)]
    assert "backward-compute" in told["accused"][0]["evidence"]
    assert "forward-compute" in told["accused"][0]["evidence"]
    innocent = run(shared_data("gpu/bytedance_straggler/trace-ST.parquet"))
    assert "nobody is accused" in innocent.stdout
    other = run(shared_data("gpu/openb/openb_pod_list_default.parquet"))
    assert other.stderr.endswith("no column dp_rank, duration, optype, rank, stage, step\n")
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    for name in ("a.parquet", "none.parquet"):
        done = run(tmp_path / name)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_folder_is_followed_and_only_what_changes_is_told(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    followed = tmp_path / "dumps"
    command = [sys.executable, str(ROOT / "stowage.py"), "diagnose", str(followed), "--follow", "--every", "0.1"]
    told = []
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "no such folder" in process.stderr.readline()
        for case in ("healthy", "slow_rank5"):
            shutil.copytree(shared_data(f"gpu/flight_recorder/{case}"), tmp_path / case)
            if followed.exists():
                followed.rename(tmp_path / "before")
            (tmp_path / case).rename(followed)
            told.append(json.loads(process.stdout.readline()))
        process.kill()
    assert [one["verdict"] for one in told] == ["healthy", "non-communication slow"]
    assert [one["rank"] for one in told[1]["accused"]] == [5]


def test_a_rank_beyond_reason_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trace_999999999").write_bytes(b"{}")
    assert "ends in rank 999999999, and a job has fewer than 1048576" in run(tmp_path).stderr


def test_a_connection_is_named_as_such(tmp_path: Path) -> None:
    entry = {
        "record_id": 0, "process_group": ("0", ""), "collective_seq_id": 1, "p2p_seq_id": 0, "is_p2p": False,
        "profiling_name": "nccl:all_reduce", "time_created_ns": 5, "state": "completed",
    }  # fmt: skip
    for rank, name in enumerate(("nccl:send 0->1", "nccl:recv 1<-0")):
        message = entry | {"record_id": 1, "p2p_seq_id": 1, "is_p2p": True, "profiling_name": name, "state": "started"}
        (tmp_path / f"trace_{rank}").write_bytes(pickle.dumps({"version": "2.9", "entries": [entry, message]}))
    assert json.loads(run(tmp_path, "--json").stdout)["accused"][0]["link"] == [0, 1]
    assert "the connection from rank 0 to rank 1: communication hang" in run(tmp_path).stdout
    assert "healthy" in run(tmp_path, "--waited", 5).stdout
