from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from traces.errors import TraceFormatError
from traces.importer import import_trace
from traces.schema import Trace, open_trace


def imported(tmp_path: Path, *sources: Path) -> Trace:
    import_trace("openb", sources, tmp_path / "trace")
    return open_trace(tmp_path / "trace")


def sums(trace: Trace) -> tuple[int, ...]:
    query = f"""SELECT count(*) FILTER (gpus = 0), count(*) FILTER (gpus = 1 AND gpu_milli < 1000),
        count(*) FILTER (gpus = 1 AND gpu_milli = 1000), count(*) FILTER (gpus > 1), sum(gpus * gpu_milli),
        sum(cpu_milli)
        FROM {trace.scan("tasks")}"""
    return duckdb.sql(query).fetchall()[0]


def test_the_folder_gives_all_nodes_and_the_default_pods(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    trace = imported(tmp_path, shared_data("gpu/openb"))
    nodes = duckdb.sql(f"SELECT count(*), sum(gpus), sum(cpu_milli) // 1000 FROM {trace.scan('machines')}").fetchall()
    assert nodes == [(1_523, 6_212, 125_514)]
    cpu_only, shared, one, several, gpu_milli, cpu_milli = sums(trace)
    assert (cpu_only, shared, one, several) == (1_088, 3_078, 3_911, 75)
    assert f"{gpu_milli / 1000:,.1f}" == "6,086.8"
    assert f"{cpu_milli / 1000:,.0f}" == "85,436"
    assert len(trace.meta.notes) == 2


def test_models_of_the_gpu_nodes(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    trace = imported(tmp_path, shared_data("gpu/openb/openb_node_list_gpu_node.csv"))
    models = dict(duckdb.sql(f"SELECT gpu_model, sum(gpus) FROM {trace.scan('machines')} GROUP BY ALL").fetchall())
    assert models == {"G2": 4_392, "T4": 842, "G3": 312, "P100": 265, "V100M32": 204, "V100M16": 195, "A10": 2}
    assert trace.meta.rows == {"machines": 1_213}


def test_csv_and_parquet_give_the_same_pods(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    digests = set()
    for form in ("csv", "parquet"):
        pods = shared_data(f"gpu/openb/openb_pod_list_default.{form}")
        digests.add(import_trace("openb", [pods], tmp_path / form).digest)
    assert len(digests) == 1


def test_lives_of_the_pods(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    trace = imported(tmp_path, shared_data("gpu/openb/openb_pod_list_default.csv"))
    assert trace.meta.illegal_transitions == {}
    assert trace.meta.time_range_us == (0, 12_901_792_000_000)  # pods cut off at 12,902,960 s have no end event
    ends = dict(duckdb.sql(f'SELECT "end", count(*) FROM {trace.scan("attempts")} GROUP BY ALL').fetchall())
    assert ends == {"FINISH": 5_351, "FAIL": 1_870, "KILL": 897, None: 34}
    never = duckdb.sql(f"SELECT count(*) FROM {trace.scan('attempts')} WHERE schedule_us IS NULL").fetchall()
    assert never == [(897,)]


@pytest.mark.parametrize(
    ("name", "pods", "several"), [("multigpu20", 8_324, 247), ("multigpu40", 8_746, 669), ("multigpu50", 9_061, 984)]
)
def test_lists_of_five_columns(
    shared_data: Callable[[str], Path], tmp_path: Path, name: str, pods: int, several: int
) -> None:
    trace = imported(tmp_path, shared_data(f"gpu/openb/openb_pod_list_{name}.parquet"))
    assert trace.meta.rows["tasks"] == trace.meta.rows["attempts"] == pods
    assert sums(trace)[3] == several
    assert duckdb.sql(f"SELECT DISTINCT event, time_us FROM {trace.scan('task_events')}").fetchall() == [("SUBMIT", 0)]


@pytest.mark.parametrize(
    ("name", "pods", "constrained"),
    [("cpu0", 7_064, None), ("cpu300", 10_094, None), ("gpuspec05", 8_152, 369), ("gpuspec33", 8_152, 2_388)],
)
def test_other_lists(
    shared_data: Callable[[str], Path], tmp_path: Path, name: str, pods: int, constrained: int | None
) -> None:
    trace = imported(tmp_path, shared_data(f"gpu/openb/openb_pod_list_{name}.parquet"))
    assert trace.meta.rows["tasks"] == pods
    if constrained is not None:
        assert duckdb.sql(f"SELECT count(gpu_models) FROM {trace.scan('tasks')}").fetchall() == [(constrained,)]


def test_two_pod_lists_are_refused(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    lists = [shared_data(f"gpu/openb/openb_pod_list_{name}.parquet") for name in ("cpu0", "cpu300")]
    with pytest.raises(TraceFormatError, match="one pod list"):
        imported(tmp_path, *lists)
