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
