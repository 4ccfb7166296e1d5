"""An import is whole or not at all: stopped, killed, repeated, run twice, fed with spoilt files."""

from __future__ import annotations

import gzip
import itertools
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.traces.builders import MACHINE_ROWS, TASK_ROWS, a_source, text, with_field
from traces import importer
from traces.errors import TraceError, TraceFormatError
from traces.importer import import_trace
from traces.schema import open_trace
from traces.tables import digest_of

ROOT = Path(__file__).resolve().parents[2]
PART = "task_events/part-00000-of-00001.csv"


def a_long_source(folder: Path, parts: int = 3, rows: int = 4_000) -> Path:
    """Submissions and placements of many tasks over several parts."""
    (folder / "task_events").mkdir(parents=True)
    for part in range(parts):
        lines = []
        for number in range(rows // 2):
            at, job = 600_000_000 + (part * rows + number) * 1000, 100 + (part * rows + number) // 50
            shared = f"user{job % 7},1,{job % 12},0.0{1 + number % 9},0.0{1 + number % 7},0.001,0"
            lines += [f"{at},,{job},{number % 50},,0,{shared}", f"{at},,{job},{number % 50},{number % 90},1,{shared}"]
        path = folder / "task_events" / f"part-{part:05}-of-{parts:05}.csv.gz"
        path.write_bytes(gzip.compress(text(lines), 1, mtime=0))
    (folder / "machine_events").mkdir()
    machines = [f"0,{machine},0,p,1,1" for machine in range(90)]
    (folder / "machine_events" / "part-00000-of-00001.csv").write_bytes(text(machines))
    return folder


def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are converted from now on."""
    names: list[str] = []
    real = importer.convert_file

    def convert(file: Path, *rest: Any, **options: Any) -> Any:
        names.append(f"{file.parent.name}/{file.name}")
        return real(file, *rest, **options)

    monkeypatch.setattr(importer, "convert_file", convert)
    return names


def test_a_repeat_does_only_what_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = a_source(tmp_path / "source")
    good = (source / PART).read_bytes()
    (source / PART).write_bytes(good + b"junk\n")
    names = converted(monkeypatch)
    with pytest.raises(TraceFormatError):
        import_trace("google2011", [source], tmp_path / "trace", threads=1)
    assert PART in names
    done = set(names) - {PART}
    names.clear()
    (source / PART).write_bytes(good)
    import_trace("google2011", [source], tmp_path / "trace", threads=1)
    assert PART in names
    assert not done & set(names)
    assert not (tmp_path / "trace.partial").exists()


def test_a_source_that_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = a_source(tmp_path / "source")
    monkeypatch.setattr(importer, "_publish", lambda *_: None)  # as if killed just before the end
    import_trace("google2011", [source], tmp_path / "trace")
    os.utime(source / PART, ns=(1, 1))
    names = converted(monkeypatch)
    import_trace("google2011", [source], tmp_path / "trace")
    assert names == [PART]


def test_an_import_of_other_sources_takes_nothing_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = a_source(tmp_path / "source")
    with monkeypatch.context() as patched:
        patched.setattr(importer, "_publish", lambda *_: None)
        import_trace("google2011", [source], tmp_path / "trace")
    report = import_trace("google2011", [source / "machine_events"], tmp_path / "trace")
    assert report.rows == {"machines": len(MACHINE_ROWS)}
    assert not open_trace(tmp_path / "trace").has("task_events")


def test_two_imports_into_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = a_source(tmp_path / "source")

    def meanwhile(*_: object) -> None:
        with pytest.raises(TraceError, match="another import"):
            import_trace("google2011", [source], tmp_path / "trace")

    import_trace("google2011", [source], tmp_path / "trace", progress=meanwhile)
    assert open_trace(tmp_path / "trace").meta.rows["tasks"] == 3


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = a_source(tmp_path / "source")
    first = import_trace("google2011", [source], tmp_path / "trace")
    partial = tmp_path / "trace.partial"
    partial.mkdir()
    (tmp_path / "trace").rename(partial / "previous")
    with pytest.raises(TraceError, match="--force"):
        import_trace("google2011", [source], tmp_path / "trace")
    assert open_trace(tmp_path / "trace").meta.digest == first.digest


def test_the_result_depends_on_nothing_but_the_rows(tmp_path: Path) -> None:
    plain, zipped = a_source(tmp_path / "plain"), a_source(tmp_path / "zipped", zipped=True)
    digests = {
        import_trace("google2011", [source], tmp_path / f"{source.name}{threads}", threads=threads).digest
        for source, threads in itertools.product((plain, zipped), (1, 2))
    }
    assert len(digests) == 1


def test_parts_out_of_order_in_time_are_sorted(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    (source / PART).unlink()
    late, early = text(TASK_ROWS[2:]), text(TASK_ROWS[:2])
    for part, content in enumerate((late, early)):
        (source / "task_events" / f"part-{part:05}-of-00002.csv").write_bytes(content)
    import_trace("google2011", [source], tmp_path / "trace")
    other = import_trace("google2011", [a_source(tmp_path / "other")], tmp_path / "straight")
    assert other.illegal_transitions == {} == open_trace(tmp_path / "trace").meta.illegal_transitions
    straight, sorted_ = (
        duckdb.sql(f"FROM {open_trace(tmp_path / name).scan('task_events')}").fetchall()
        for name in ("straight", "trace")
    )
    assert straight == sorted_


def test_illegal_transitions_are_counted_by_missing_info(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    extra = ["604000000,2,9,0,3,4,bob,0,0,,,,", "605000000,,9,0,3,4,bob,0,0,,,,"]
    (source / PART).write_bytes(text([*TASK_ROWS, *extra]))
    report = import_trace("google2011", [source], tmp_path / "trace")
    assert report.illegal_transitions == {
        "UNSUBMITTED FINISH": {"with_missing_info": 1, "without": 0},
        "DEAD FINISH": {"with_missing_info": 0, "without": 1},
    }


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "stowage.py", "trace", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_command(tmp_path: Path) -> None:
    source, out = a_source(tmp_path / "source"), tmp_path / "trace"
    done = run("import", "google2011", source, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {"rows", "rejected", "gaps", "seconds", "rows_per_s"} <= set(report)
    checked = json.loads(run("check", out, "--json").stdout)
    keys = {"rows", "rejected", "gaps", "time_range_us", "jobs", "tasks", "machines"}
    assert keys | {"task_events", "job_events", "machine_events"} <= set(checked)
    assert checked["task_events"] == {"EVICT": 1, "FINISH": 1, "SCHEDULE": 2, "SUBMIT": 4}
    assert json.loads(run("info", out, "--json").stdout)["digest"] == report["digest"]


def test_the_command_says_what_is_wrong_in_one_message(tmp_path: Path) -> None:
    source = a_source(tmp_path / "source")
    (source / PART).write_bytes(with_field(4, 1, "-1"))
    failed = run("import", "google2011", source, "-o", tmp_path / "trace", "--json")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert f"{PART}, row 4, field 1 (time)" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert run("import", "google2011", "-o", tmp_path / "trace").returncode == 2
    assert run("check", tmp_path / "trace").returncode == 2


def test_kill_9_at_any_moment_leaves_nothing_and_the_repeat_succeeds(tmp_path: Path) -> None:
    source, out = a_long_source(tmp_path / "source"), tmp_path / "trace"
    expected = import_trace("google2011", [source], tmp_path / "expected").digest
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["traces.importer"])

    def start(force: bool) -> Any:
        child = processes.Process(target=import_trace, args=("google2011", [source], out), kwargs={"force": force})
        child.start()
        return child

    start(force=False).join()
    begun = time.monotonic()
    start(force=True).join()
    whole_s = time.monotonic() - begun
    moments, killed = random.Random(20), 0
    for turn in range(20):
        if is_fresh := turn % 2 == 0:
            shutil.rmtree(out)
        child = start(force=not is_fresh)
        child.join(moments.uniform(0, whole_s))
        killed += child.is_alive()
        child.kill()
        child.join()
        if out.exists():
            assert open_trace(out).meta.digest == digest_of(out) == expected
        elif not is_fresh:
            assert digest_of(out.with_name("trace.partial") / "previous") == expected
        assert import_trace("google2011", [source], out, force=True).digest == expected
        assert not out.with_name("trace.partial").exists()
    assert killed > 5


def test_import_killed_while_it_tidies_up_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = a_long_source(tmp_path / "source"), tmp_path / "trace"
    remove = shutil.rmtree

    def killed_half_way(folder: Path, **options: Any) -> None:
        if folder == out.with_name("trace.partial"):
            remove(folder / "parts" / "machines")
            raise KeyboardInterrupt
        remove(folder, **options)

    with monkeypatch.context() as patch:
        patch.setattr("traces.importer.shutil.rmtree", killed_half_way)
        with pytest.raises(KeyboardInterrupt):
            import_trace("google2011", [source], out)
    expected = open_trace(out).meta.digest
    assert import_trace("google2011", [source], out, force=True).digest == expected


def test_import_killed_while_it_removes_what_it_replaced_can_be_repeated(tmp_path: Path) -> None:
    source, out = a_long_source(tmp_path / "source"), tmp_path / "trace"
    expected = import_trace("google2011", [source], out).digest
    previous = out.with_name("trace.partial") / "previous"
    shutil.copytree(out, previous)
    shutil.rmtree(previous / "machines")
    assert import_trace("google2011", [source], out, force=True).digest == expected == digest_of(out)
    assert not previous.exists()


def real_rows(locate: Callable[[str], Path], name: str, count: int = 60) -> bytes:
    with gzip.open(locate(f"google2011/{name}")) as stream:
        return b"".join(itertools.islice(stream, count))


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "delete", "cut", "repeat"]), st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=6)
        | st.sampled_from([b",", b"-", b"\n", b"\r\n", b'"', b"e9", b".", b"\0", b"9" * 20]),
    ),
    max_size=4,
)  # fmt: skip


def mutate(content: bytes, mutations: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, piece in mutations:
        at = int(where * len(content))
        if kind == "flip":
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == "insert":
            content = content[:at] + piece + content[at:]
        elif kind == "delete":
            content = content[:at] + content[at + 7 :]
        elif kind == "cut":
            content = content[: at + 1]
        else:
            content += content[at:]
    return content


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MUTATIONS, st.sampled_from(["task_events", "machine_events", "job_events"]), st.booleans())
@example([("flip", 0.0, b",")], "task_events", False)  # one comma too many
def test_a_spoilt_real_file_is_refused_or_its_rows_accounted_for(
    shared_data: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
    mutations: list[tuple[str, float, bytes]],
    table: str,
    zip_first: bool,
) -> None:
    name = f"part-00000-of-{'00001' if table == 'machine_events' else '00500'}.csv.gz"
    content = real_rows(shared_data, f"{table}/{name}")
    content = (
        mutate(gzip.compress(content, mtime=0), mutations) if zip_first else gzip.compress(mutate(content, mutations))
    )
    folder = tmp_path_factory.mktemp("spoilt")
    (folder / table).mkdir()
    path = folder / table / name
    path.write_bytes(content)
    refusal = ""
    try:
        report = import_trace("google2011", [path], folder / "trace", threads=1)
    except TraceFormatError as error:
        refusal = str(error)
    if refusal:
        assert name in refusal
        assert not (folder / "trace").exists()
        return
    lines = gzip.decompress(content).decode().replace("\r\n", "\n").split("\n")
    kept = report.rows["machines" if table == "machine_events" else table]
    rejected = sum(report.rejected.values())
    assert kept + rejected == sum(1 for line in lines if line)
    if rejected:
        rows = duckdb.sql(f"SELECT row, line FROM {open_trace(folder / 'trace').scan('rejected')}").fetchall()
        assert rows == [(row, lines[row - 1]) for row, _ in rows]
