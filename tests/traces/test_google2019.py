from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from traces.importer import import_trace
from traces.schema import EVENTS, Trace, open_trace

SAMPLES = ("borg_traces_data.sample1500.csv.gz", "borg_traces_data.slice.csv", "borg_traces_data.small_slice3.csv")


def imported(tmp_path: Path, *sources: Path) -> Trace:
    import_trace("google2019", sources, tmp_path / "trace")
    return open_trace(tmp_path / "trace")


def counts(trace: Trace) -> dict[str, int]:
    return dict(duckdb.sql(f"SELECT event, count(*) FROM {trace.scan('task_events')} GROUP BY ALL").fetchall())


def read(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") if path.name.endswith(".gz") else path.open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_joined_sample_means_what_its_event_column_says(
    shared_data: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    path = shared_data(f"google2019/{name}")
    rows = read(path)
    by_name = Counter(row["event"] for row in rows)
    by_code = Counter(EVENTS[int(row["instance_events_type"])] for row in rows)
    assert counts(imported(tmp_path, path)) == by_name
    assert by_name != by_code, "the numbers are not the published codes; reading them would show here"


def test_rows_of_the_joined_sample(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    trace = imported(tmp_path, shared_data("google2019/borg_traces_data.slice.csv"))
    event = duckdb.sql(f"SELECT * FROM {trace.scan('task_events')} WHERE job = 260697606809").df().iloc[0]
    assert (event.time_us, event.task_index, event.machine, event.event) == (2_517_305_308_183, 335, 85_515_092, "FAIL")
    assert (event.cpu_milli, event.memory_mib, event.priority) == (927, 683, 360)
    usage = duckdb.sql(f"SELECT * FROM {trace.scan('usage')} WHERE job = 94591244395 ORDER BY start_us").df().iloc[0]
    assert (usage.start_us, usage.end_us, usage.cpu_milli) == (274_800_000_000, 275_100_000_000, 597)
    assert len(usage.cpu_distribution_milli) == 11
    assert len(usage.tail_cpu_distribution_milli) == 9


def test_identifiers_rounded_by_a_spreadsheet_are_noted(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    trace = imported(tmp_path, shared_data("google2019/borg_traces_data.sample1500.csv.gz"))
    assert any("rounded" in note for note in trace.meta.notes)
    assert trace.meta.rows["task_events"] == 1_500


def test_json_lines_hold_int64_as_text(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    trace = imported(tmp_path, shared_data("google2019/instance_events.cell_a.head5.normalised.jsonl"))
    rows = duckdb.sql(f"SELECT task_index, event, machine, cpu_milli FROM {trace.scan('task_events')}").fetchall()
    assert rows == [
        (0, "SUBMIT", 151_920_044, 4305), (0, "ENABLE", 151_920_044, 4305), (0, "SCHEDULE", 151_920_044, 4305),
        (1, "SUBMIT", 23_621_346_722, 4305), (1, "ENABLE", 23_621_346_722, 4305),
    ]  # fmt: skip
    assert trace.meta.illegal_transitions == {}


INSTANCE = (
    '{{"time":"{time}","type":{type},"collection_id":"7","scheduling_class":2,"missing_type":0,"collection_type":0,'
    '"priority":200,"alloc_collection_id":"{alloc}","instance_index":{index},"machine_id":"{machine}",'
    '"alloc_instance_index":{alloc_index},"resource_request":{{"cpus":0.5,"memory":0.25}},"constraint":{constraint}}}\n'
)


def an_instance(**changes: object) -> str:
    fields = {"time": 0, "type": 0, "alloc": 0, "index": 0, "machine": 0, "alloc_index": -1, "constraint": "[]"}
    return INSTANCE.format(**(fields | changes))


def a_cell(folder: Path) -> Path:
    """Two shards of instance events out of order, a collection, two machines and a usage window, nested as exported."""
    folder.mkdir()
    demand = '[{"name":"kernel","value":"4","relation":5}]'
    (folder / "instance_events-000000000000.json").write_text(
        an_instance(time=9_000_000, type=6, machine=3) + an_instance(time=2_000_000, type=3, machine=3)
    )
    shard = an_instance(time=1_000_000, constraint=demand) + an_instance(
        time=1_000_000, index=1, alloc=5, alloc_index=2
    )
    (folder / "instance_events-000000000001.json.gz").write_bytes(gzip.compress(shard.encode()))
    (folder / "collection_events-000000000000.json").write_text(
        '{"time":"1000000","type":0,"collection_id":"7","user":"alice","collection_type":1,"vertical_scaling":2,'
        '"scheduler":1,"start_after_collection_ids":["4","5"],"max_per_machine":1}\n'
    )
    (folder / "machine_events-000000000000.json").write_text(
        '{"time":"0","machine_id":"3","type":1,"switch_id":"s1","capacity":{"cpus":1.0,"memory":0.5},'
        '"platform_id":"p"}\n'
        '{"time":"5","machine_id":"3","type":2}\n'
    )
    return folder


def test_shards_are_put_in_order_and_lives_followed_across_them(tmp_path: Path) -> None:
    trace = imported(tmp_path, a_cell(tmp_path / "cell"))
    query = f"SELECT time_us, event, task_index, machine FROM {trace.scan('task_events')}"
    assert duckdb.sql(query).fetchall() == [
        (1_000_000, "SUBMIT", 0, None), (1_000_000, "SUBMIT", 1, None), (2_000_000, "SCHEDULE", 0, 3),
        (9_000_000, "FINISH", 0, 3),
    ]  # fmt: skip
    task = duckdb.sql(f"SELECT tenant, cpu_milli, run_us, constraints, alloc FROM {trace.scan('tasks')}").fetchall()
    assert task == [("alice", 64_000, 7_000_000, 1, None), ("alice", 64_000, None, 0, 5)]
    assert trace.meta.illegal_transitions == {}


def test_nested_columns_of_the_other_tables(tmp_path: Path) -> None:
    trace = imported(tmp_path, a_cell(tmp_path / "cell"))
    job = duckdb.sql(f"SELECT is_alloc_set, start_after, vertical_scaling, scheduler FROM {trace.scan('job_events')}")
    assert job.fetchall() == [(True, [4, 5], "CONSTRAINED", "BATCH")]
    machines = duckdb.sql(f'SELECT event, cpu_milli, memory_mib, "switch" FROM {trace.scan("machines")}').fetchall()
    assert machines == [("ADD", 128_000, 262_144, "s1"), ("REMOVE", None, None, None)]
    demands = duckdb.sql(f"SELECT operator, attribute, value FROM {trace.scan('task_constraints')}").fetchall()
    assert demands == [("GREATER_EQUAL", "kernel", "4")]


@pytest.mark.parametrize("form", ["parquet", "csv", "csv.gz"])
def test_every_container_gives_the_same_rows(tmp_path: Path, form: str) -> None:
    cell = a_cell(tmp_path / "cell")
    shard = cell / "instance_events-000000000000.json"
    other = tmp_path / "other"
    other.mkdir()
    target = other / f"instance_events-000000000000.{form}"
    options = {
        "parquet": "FORMAT parquet",
        "csv": "FORMAT csv, HEADER",
        "csv.gz": "FORMAT csv, HEADER, COMPRESSION gzip",
    }
    rows = f"SELECT * FROM read_json('{shard}', format='newline_delimited')"
    if form != "parquet":  # CSV cannot nest: exports flatten, or print the object
        rows = f"SELECT * REPLACE (to_json(resource_request) AS resource_request) FROM ({rows})"
    duckdb.sql(f"COPY ({rows}) TO '{target}' ({options[form]})")
    one, two = tmp_path / "one", tmp_path / "two"
    import_trace("google2019", [shard], one)
    import_trace("google2019", [target], two)
    for table in ("task_events", "tasks", "attempts"):
        first, second = (duckdb.sql(f"FROM {open_trace(out).scan(table)}").fetchall() for out in (one, two))
        assert first == second
