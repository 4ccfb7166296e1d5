"""The synthetic trace: its layout is the published one, its lives are legal, its statistics are the calibrated ones."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from traces.cli import app
from traces.synth import SynthError, Wish, synthesise, write
from traces.synth.text import decimal

SMALL_DAYS = 0.5
MACHINES, DAYS = 4000, 0.5
SUBMIT, SCHEDULE, EVICT, FAIL, FINISH, KILL = range(6)
TIER = "CASE WHEN priority <= 1 THEN 'free' WHEN priority <= 8 THEN 'middle' WHEN priority <= 10 THEN 'production' END"


def a_cell(machines: int, days: float, seed: int = 0, usage: float = 0.0) -> Wish:
    return Wish("google2011", days, machines, seed, usage)


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand machines for half a day, to read row by row."""
    folder = tmp_path_factory.mktemp("synth") / "cell"
    synthesise(folder, a_cell(machines=1000, days=SMALL_DAYS, seed=7))
    return folder


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Four thousand machines for half a day, and `attempts`: one row per SUBMIT with what followed it."""
    cell = tmp_path_factory.mktemp("synth") / "large"
    synthesise(cell, a_cell(machines=MACHINES, days=DAYS, seed=7))
    con = duckdb.connect()
    con.execute("SET threads = 2")
    con.execute(
        f"""
        CREATE TABLE task AS SELECT row_number() OVER () AS row, * FROM read_csv('{cell}/task_events/*.csv.gz',
            header = false, columns = {{'us': 'BIGINT', 'missing': 'INT', 'job': 'BIGINT', 'task': 'INT',
            'machine': 'BIGINT', 'event': 'INT', 'user': 'VARCHAR', 'class': 'INT', 'priority': 'INT', 'cpu': 'DOUBLE',
            'memory': 'DOUBLE', 'disk': 'DOUBLE', 'spread': 'INT'}});
        CREATE TABLE machine AS SELECT * FROM read_csv('{cell}/machine_events/*.csv.gz', header = false,
            columns = {{'us': 'BIGINT', 'machine': 'BIGINT', 'event': 'INT', 'platform': 'VARCHAR', 'cpu': 'DOUBLE',
            'memory': 'DOUBLE'}});
        CREATE TABLE attempts AS
        WITH numbered AS (
            SELECT *, sum((event = 0)::INT) OVER (PARTITION BY job, task ORDER BY row) AS attempt FROM task)
        SELECT job, task, attempt, any_value(priority) AS priority, min(us) FILTER (event = 0) AS submit_us,
               min(us) FILTER (event = 1) AS schedule_us, max(us) FILTER (event > 1) AS end_us,
               max(event) FILTER (event > 1) AS ending
        FROM numbered GROUP BY ALL"""
    )
    return con


def read_rows(cell: Path, table: str) -> Iterator[list[str]]:
    for path in sorted((cell / table).iterdir()):
        with gzip.open(path, "rt", newline="") as file:
            yield from csv.reader(file)


def test_every_life_is_legal(cell: Path) -> None:
    """Replays the files with a state machine that shares nothing with the generator."""
    next_state = {
        (None, SUBMIT): "pending",
        ("dead", SUBMIT): "pending",
        ("pending", SCHEDULE): "running",
        ("pending", KILL): "gone",
        ("pending", FAIL): "gone",
        ("running", EVICT): "dead",
        ("running", FAIL): "dead",
        ("running", KILL): "dead",
        ("running", FINISH): "gone",
    }
    changes = [(int(us), m, int(event)) for us, m, event, *_ in read_rows(cell, "machine_events")]
    capacity = {
        m: (float(cpu or 0), float(memory or 0)) for _, m, _, _, cpu, memory in read_rows(cell, "machine_events")
    }
    present: set[str] = set()
    removed_us: dict[str, int] = {}
    state: dict[tuple[str, str], str] = {}
    place: dict[tuple[str, str], str] = {}
    spread_on: dict[str, set[str]] = defaultdict(set)
    load: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    at, last_us, busiest = 0, 0, [0.0, 0.0]
    for us_text, _, job, task, machine, event_text, _, _, _, cpu, memory, _, spread in read_rows(cell, "task_events"):
        us, event, key = int(us_text), int(event_text), (job, task)
        assert us >= last_us, "rows are in time order"
        assert us == 0 or us >= 600_000_000
        last_us = us
        while at < len(changes) and changes[at][0] <= us:
            when, changed, kind = changes[at]
            if kind == 0:
                assert changed not in present, "ADD of a machine that is there"
                assert not any(where == changed for where in place.values()), "a removed machine was not emptied"
                present.add(changed)
            else:
                assert changed in present, "REMOVE or UPDATE of an absent machine"
            if kind == 1:
                present.remove(changed)
                removed_us[changed] = when
            at += 1
        state[key] = next_state[state.get(key), event]
        if event == SCHEDULE:
            assert machine in present, "SCHEDULE on an absent machine"
            assert capacity[machine][0] > 0, "SCHEDULE on a machine without known capacity"
            place[key] = machine
            load[machine][0] += float(cpu)
            load[machine][1] += float(memory)
            for r in (0, 1):
                busiest[r] = max(busiest[r], load[machine][r] / capacity[machine][r])
            if spread == "1":
                assert machine not in spread_on[job], "two tasks of a different-machines job on one machine"
                spread_on[job].add(machine)
        elif event != SUBMIT and key in place:
            assert machine == place[key], "the end names another machine than the start"
            if machine not in present:
                assert event == EVICT or us - removed_us[machine] < 100_000, "a task outlived its machine"
            load[machine][0] -= float(cpu)
            load[machine][1] -= float(memory)
            spread_on[job].discard(place.pop(key))
        elif event != SUBMIT:
            assert machine == "", "a pending task has no machine"
    assert 1.2 < busiest[0] < 1.5, "CPU over-commit of the fullest machine"
    assert 1.2 < busiest[1] < 1.6, "memory over-commit of the fullest machine"


def test_jobs_live_as_long_as_their_tasks(cell: Path) -> None:
    lives: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for us, _, job, event, *_ in read_rows(cell, "job_events"):
        lives[job].append((int(us), int(event)))
    first_schedule: dict[str, int] = {}
    last_row: dict[str, int] = {}
    for us, _, job, _, _, event, *_ in read_rows(cell, "task_events"):
        last_row[job] = int(us)
        if int(event) == SCHEDULE:
            first_schedule.setdefault(job, int(us))
    assert lives.keys() == last_row.keys()
    for job, life in lives.items():
        events = [event for _, event in life]
        assert events[0] == SUBMIT
        started = [us for us, event in life if event == SCHEDULE]
        # A job that started before the snapshot may have no running task in it.
        assert started in ([0], [first_schedule.get(job)] if job in first_schedule else [])
        if events[-1] in (FAIL, FINISH, KILL):
            assert 0 <= life[-1][0] - last_row[job] < 100


def test_files_look_like_the_published_ones(cell: Path) -> None:
    parts = -(-int(SMALL_DAYS * 86_400) // 5011)
    for table in ("task_events", "job_events", "task_constraints"):
        names = sorted(path.name for path in (cell / table).iterdir())
        assert names == [f"part-{part:05d}-of-{parts:05d}.csv.gz" for part in range(parts)]
    for line in (cell / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((cell / name).read_bytes()).hexdigest() == digest
    with gzip.open(cell / "task_events" / f"part-00003-of-{parts:05d}.csv.gz", "rt") as file:
        times = [int(line.split(",")[0]) for line in file]
    assert 600e6 + 3 * 5011.2e6 <= times[0] <= times[-1] < 600e6 + 4 * 5011.2e6
    row = next(read_rows(cell, "task_events"))
    assert len(row) == 13
    assert row[0] == "0"
    assert len(row[6]) == 44
    assert any(row[1] == "2" and row[4] and row[9:] == [""] * 4 for row in read_rows(cell, "task_events"))
    numbers = {value for row in read_rows(cell, "task_events") for value in row[9:12] if value}
    assert all("e" not in value and len(value.replace(".", "").lstrip("0")) <= 4 for value in numbers)


def test_constrained_tasks_run_where_they_may(cell: Path) -> None:
    attributes: dict[str, dict[str, str]] = defaultdict(dict)
    for _, machine, name, value, _ in read_rows(cell, "machine_attributes"):
        attributes[machine][name] = value
    terms: dict[tuple[str, str], set[tuple[str, str, str]]] = defaultdict(set)
    for _, job, task, operator, name, value in read_rows(cell, "task_constraints"):
        terms[job, task].add((operator, name, value))
    meets = {
        "0": lambda has, wants: has == wants,
        "1": lambda has, wants: has != wants,
        "2": lambda has, wants: has is not None and int(has) < int(wants),
        "3": lambda has, wants: has is not None and int(has) > int(wants),
    }
    seen = 0
    for _, _, job, task, machine, event, *_ in read_rows(cell, "task_events"):
        if event == "1":
            for operator, name, value in terms.get((job, task), ()):
                assert meets[operator](attributes[machine].get(name), value)
                seen += 1
    assert seen > 100


# Origin of the right-hand sides: parts 0-13 and the machine table of the published trace. Tolerances leave room for one
# seed's giant jobs on a cell a twelfth of the size; quantiles within a factor, shares within a difference.
@pytest.mark.parametrize(
    ("tier", "p50", "p90", "p99"),
    [("free", 3.4, 720, 7078), ("middle", 2.7, 59, 2713), ("production", 1.7, 30, 76)],
)
def test_waits_follow_the_tier(db: duckdb.DuckDBPyConnection, tier: str, p50: float, p90: float, p99: float) -> None:
    [(quantiles,)] = db.execute(
        f"""SELECT quantile_cont((schedule_us - submit_us) / 1e6, [0.5, 0.9, 0.99]) FROM attempts
            WHERE submit_us > 0 AND schedule_us IS NOT NULL AND {TIER} = ?""",
        [tier],
    ).fetchall()
    for seen, published, factor in zip(quantiles, (p50, p90, p99), (1.6, 4, 8), strict=True):
        assert published / factor < seen < published * factor


def test_the_snapshot_is_as_full_as_the_published_one(db: duckdb.DuckDBPyConnection) -> None:
    [(cpu, memory)] = db.execute("SELECT sum(cpu), sum(memory) FROM machine WHERE us = 0").fetchall()
    [(used_cpu, used_memory, running)] = db.execute(
        "SELECT sum(cpu), sum(memory), count(*) FROM task WHERE us = 0 AND event = 1"
    ).fetchall()
    assert used_cpu / cpu == pytest.approx(1.13, abs=0.1)
    assert used_memory / memory == pytest.approx(0.93, abs=0.12)
    assert running / MACHINES == pytest.approx(10.7, rel=0.4)


def test_the_cell_stays_full(db: duckdb.DuckDBPyConnection) -> None:
    [(cpu,)] = db.execute("SELECT sum(cpu) FROM machine WHERE us = 0").fetchall()
    for share in (0.3, 0.6, 0.9):
        at = int(600e6 + share * DAYS * 86_400e6)
        [(used,)] = db.execute(
            """SELECT sum(cpu) FROM attempts a JOIN task t ON (t.job, t.task, t.us) = (a.job, a.task, a.schedule_us)
               WHERE t.event = 1 AND schedule_us <= $at AND coalesce(end_us, $at + 1) > $at""",
            {"at": at},
        ).fetchall()
        assert used / cpu == pytest.approx(1.13, abs=0.2)


def test_machines_have_the_published_shapes(db: duckdb.DuckDBPyConnection) -> None:
    shapes = dict(db.execute("SELECT (cpu, memory)::VARCHAR, count(*) FROM machine WHERE us = 0 GROUP BY 1").fetchall())
    assert shapes["(0.5, 0.4995)"] / MACHINES == pytest.approx(6711 / 12555, abs=0.02)
    assert shapes["(0.5, 0.2493)"] / MACHINES == pytest.approx(3860 / 12555, abs=0.02)
    assert shapes["(1.0, 1.0)"] / MACHINES == pytest.approx(793 / 12555, abs=0.01)


def test_jobs_have_the_published_sizes_and_requests(db: duckdb.DuckDBPyConnection) -> None:
    [(quantiles, most, mean)] = db.execute(
        """SELECT quantile_cont(tasks, [0.5, 0.9]), max(tasks), avg(tasks)
           FROM (SELECT count(DISTINCT task) AS tasks FROM task GROUP BY job)"""
    ).fetchall()
    assert quantiles[0] == 1
    assert 10 < quantiles[1] < 40
    assert 1500 < most <= 1.6 * MACHINES, "a giant job is 1.6 tasks per machine"
    assert 8 < mean < 40
    [(cpu, memory, spread)] = db.execute(
        "SELECT quantile_cont(cpu, [0.1, 0.5, 0.99]), quantile_cont(memory, [0.1, 0.5, 0.99]), avg(spread) "
        "FROM (SELECT DISTINCT job, task, cpu, memory, spread FROM task WHERE event = 0)"
    ).fetchall()
    expected = (0.0094, 0.025, 0.187, 0.0061, 0.0207, 0.159)
    for seen, published, factor in zip(cpu + memory, expected, [5, 2.5, 2] * 2, strict=True):
        assert published / factor < seen < published * factor
    assert 0.02 < spread < 0.35
    [(popular,)] = db.execute(
        "SELECT sum(n) / (SELECT count(*) FROM task WHERE event = 0) FROM "
        "(SELECT count(*) AS n FROM task WHERE event = 0 GROUP BY cpu ORDER BY n DESC LIMIT 8)"
    ).fetchall()
    assert popular > 0.6, "a few sizes are popular"


def test_ends_and_load_have_the_published_shares(db: duckdb.DuckDBPyConnection) -> None:
    ends = Counter(
        dict(db.execute("SELECT ending, count(*) FROM attempts WHERE ending NOT NULL GROUP BY 1").fetchall())
    )
    without_fails = ends[EVICT] + ends[FINISH] + ends[KILL]
    assert ends[FINISH] / without_fails == pytest.approx(0.43, abs=0.2)
    assert ends[KILL] / without_fails == pytest.approx(0.28, abs=0.2)
    assert ends[EVICT] / without_fails == pytest.approx(0.29, abs=0.20)
    [(new,)] = db.execute("SELECT count(*) FROM attempts WHERE attempt = 1 AND submit_us > 0").fetchall()
    assert new / MACHINES / DAYS == pytest.approx(72, rel=0.35)
    per_second = "SELECT count(*) AS n FROM task WHERE us > 0 GROUP BY us // 1000000"
    [(burst,)] = db.execute(f"SELECT max(n) FROM ({per_second})").fetchall()
    assert burst > 1500, "bursts of a giant job's size: ten thousand on a full cell"


def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(tmp_path: Path) -> None:
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    for folder, threads, seed in ((one, 1, 3), (two, 3, 3), (other, 2, 4)):
        synthesise(folder, a_cell(machines=40, days=0.2, seed=seed, usage=0.2), threads=threads)
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file()]
    assert len(files) == 4 * 4 + 2 + 2
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)
    assert (one / "SHA256SUMS").read_text() != (other / "SHA256SUMS").read_text()


@pytest.mark.parametrize(("machines", "days"), [(1, 0.01), (10, 0.05), (3, 1.0)])
def test_small_cells_work(tmp_path: Path, machines: int, days: float) -> None:
    rows = synthesise(tmp_path / "small", a_cell(machines=machines, days=days, seed=1))
    assert rows["machine_events"] >= machines
    assert rows["task_events"] > 0


def test_usage_covers_running_tasks(tmp_path: Path) -> None:
    synthesise(tmp_path / "cell", a_cell(machines=20, days=0.1, seed=1, usage=1.0))
    rows = list(read_rows(tmp_path / "cell", "task_usage"))
    assert all(len(row) == 20 for row in rows)
    assert all(0 < int(row[1]) - int(row[0]) <= 300_000_000 for row in rows)
    tasks = {(row[2], row[3]) for row in read_rows(tmp_path / "cell", "task_events")}
    assert {(row[2], row[3]) for row in rows} <= tasks
    assert len(rows) > 20 * 5 * 28


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"machines": 0}, "machines must be 1 to"),
        ({"machines": 10**9}, "machines must be 1 to"),
        ({"days": -1.0}, "days must be above 0"),
        ({"days": float("nan")}, "days must be above 0"),
        ({"usage": 1.5}, "usage is a share"),
        ({"seed": -1}, "seed must be"),
        ({"format_name": "google1999"}, "known are: azure2019, google2011"),
        ({"machines": None}, "--machines is missing"),
        ({"scale": 0.5}, "google2011 takes no scale"),
        ({"functions": 5}, "google2011 takes no functions"),
        ({"format_name": "huawei2025"}, "huawei2025 takes no machines"),
        ({"format_name": "azure2019", "machines": None, "days": 1}, "--functions is missing"),
        ({"format_name": "azure2019", "machines": None, "days": 15, "functions": 9}, "at most 14"),
        ({"format_name": "huawei2025", "machines": None, "days": 1.5}, "whole days"),
        ({"format_name": "huawei2025", "machines": None, "days": 32}, "at most 31"),
        ({"format_name": "huawei2025", "machines": None, "days": 1, "scale": 0.0}, "share of the published trace"),
        ({"format_name": "huawei2025", "machines": None, "days": 1, "like": Path("nowhere")}, "not a folder"),
    ],
)
def test_impossible_wishes_are_refused(tmp_path: Path, wish: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"format_name": "google2011", "machines": 10, "days": 0.01, **wish}
    with pytest.raises(SynthError, match=message) as caught:
        synthesise(tmp_path / "out", Wish(**arguments))  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_existing_folders_are_safe(tmp_path: Path) -> None:
    out = tmp_path / "out"
    synthesise(out, a_cell(machines=2, days=0.01))
    with pytest.raises(SynthError, match="--force replaces it"):
        synthesise(out, a_cell(machines=3, days=0.01))
    synthesise(out, a_cell(machines=3, days=0.01), force=True)
    assert json.loads((out / "synth.json").read_text())["machines"] == 3
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("precious")
    with pytest.raises(SynthError, match="not a synthetic trace"):
        synthesise(mine, a_cell(machines=3, days=0.01), force=True)


def test_without_the_fast_compressor_the_rows_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthesise(tmp_path / "fast", a_cell(machines=5, days=0.05, seed=2))
    monkeypatch.setattr(write, "_fast", zlib)
    synthesise(tmp_path / "slow", a_cell(machines=5, days=0.05, seed=2))
    for table in ("task_events", "job_events", "task_constraints", "machine_events", "machine_attributes"):
        assert list(read_rows(tmp_path / "fast", table)) == list(read_rows(tmp_path / "slow", table))


def test_a_killed_run_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    """What a kill leaves is the folder under its working name; nothing stands under the final one."""
    (tmp_path / "out.partial" / "task_events").mkdir(parents=True)
    (tmp_path / "out.partial" / "task_events" / "part-00000-of-00009.csv.gz").write_bytes(b"half")
    synthesise(tmp_path / "out", a_cell(machines=2, days=0.01))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list((tmp_path / "out" / "task_events").iterdir())) == 1


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["synth", "google2011", "-o", str(out), "--machines", "5", "--days", "0.02", "--seed", "9", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["rows"]["task_events"] == sum(1 for _ in read_rows(out, "task_events"))
    assert answer["seconds"] > 0


def test_decimals_are_written_as_published() -> None:
    values = (0.5, 0.2493, 0.000002861, 1.0, 0.0, 0.06873)
    assert [decimal(value) for value in values] == ["0.5", "0.2493", "0.000002861", "1", "0", "0.06873"]
