"""A run folder is written whole, reads back, and has the same bytes for the same results."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from builders import COST, a_run, a_trace, an_attempt, some_facts, some_tables

from analytics import runs
from analytics.errors import InputError
from analytics.runs import cost_path, read_run, trace_facts, write_run
from traces.errors import TraceFormatError

ATTEMPTS = [an_attempt(task, submit_s=task, start_s=task + 1, tenant="ab"[task % 2]) for task in range(7)]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_run_reads_back_what_was_written(tmp_path: Path) -> None:
    digest = write_run(tmp_path / "run", some_facts(), some_tables(ATTEMPTS), COST)
    run = read_run(tmp_path / "run")
    assert (run.facts, run.digest, run.cost, run.name) == (some_facts(), digest, COST, "run")
    assert run.summary["attempts"] == 7
    assert pq.read_table(tmp_path / "run" / "placements.parquet").to_pylist() == ATTEMPTS


def test_same_results_give_the_same_bytes_and_no_clock_or_path(tmp_path: Path) -> None:
    a_run(tmp_path / "one", ATTEMPTS)
    a_run(tmp_path / "elsewhere" / "two", ATTEMPTS)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "elsewhere" / "two")
    assert str(tmp_path).encode() not in b"".join(bytes_of(tmp_path / "one").values())


def test_bytes_do_not_depend_on_how_the_tables_were_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ROW_GROUP_ROWS", 3)
    whole, pieces = some_tables(ATTEMPTS), dict(some_tables(ATTEMPTS))
    placements = pieces["placements"]
    write_run(tmp_path / "whole", some_facts(), whole)
    cut = [placements.slice(0, 1), placements.slice(1, 4), placements.slice(5, 2)]
    write_run(tmp_path / "pieces", some_facts(), pieces | {"placements": iter(cut)})
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "pieces")
    assert pq.ParquetFile(tmp_path / "whole" / "placements.parquet").num_row_groups == 3


def test_placements_without_copies_are_all_recorded(tmp_path: Path) -> None:
    tables = some_tables(ATTEMPTS)
    write_run(tmp_path / "with", some_facts(), tables)
    write_run(tmp_path / "without", some_facts(), tables | {"placements": tables["placements"].drop_columns(["copy"])})
    assert bytes_of(tmp_path / "with") == bytes_of(tmp_path / "without")


def test_digest_changes_with_the_results_only(tmp_path: Path) -> None:
    first = write_run(tmp_path / "1", some_facts(), some_tables(ATTEMPTS))
    assert write_run(tmp_path / "2", some_facts(policy="worst-fit"), some_tables(ATTEMPTS)) == first
    assert write_run(tmp_path / "3", some_facts(), some_tables(ATTEMPTS[:-1])) != first


def test_existing_run_is_kept_without_force(tmp_path: Path) -> None:
    out = a_run(tmp_path / "run", ATTEMPTS)
    before = bytes_of(out)
    with pytest.raises(InputError, match="--force"):
        write_run(out, some_facts(), some_tables([]))
    assert bytes_of(out) == before
    write_run(out, some_facts(), some_tables([]), force=True)
    assert read_run(out).summary["attempts"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_force_does_not_replace_what_is_not_a_run(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("precious")
    with pytest.raises(InputError, match="not a run"):
        write_run(tmp_path / "thesis", some_facts(), some_tables([]), force=True)
    assert (tmp_path / "thesis" / "chapter1.txt").exists()


def test_table_without_a_column_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    tables = some_tables(ATTEMPTS)
    tables["series"] = tables["series"].drop_columns(["stranded_cpu_milli"])
    with pytest.raises(InputError, match="series lacks stranded_cpu_milli"):
        write_run(tmp_path / "run", some_facts(), tables, COST)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="not a run description"):
        read_run(tmp_path)
    out = a_run(tmp_path / "run", ATTEMPTS)
    (out / "series.parquet").unlink()
    with pytest.raises(InputError, match=r"lacks series\.parquet"):
        read_run(out)


def test_run_without_its_cost_file_still_reads(tmp_path: Path) -> None:
    out = a_run(tmp_path / "run", ATTEMPTS)
    cost_path(out).unlink()
    assert read_run(out).cost is None


def test_second_writer_of_the_same_run_is_refused(tmp_path: Path) -> None:
    with runs._partial(tmp_path / "run"), pytest.raises(InputError, match="another process"):
        write_run(tmp_path / "run", some_facts(), some_tables(ATTEMPTS))


def _write_slowly(out: Path) -> None:
    pieces = some_tables(ATTEMPTS)

    def forever():  # type: ignore[no-untyped-def]
        while True:
            yield pieces["placements"]
            time.sleep(0.01)

    write_run(out, some_facts(), pieces | {"placements": forever()})


def test_killed_writer_leaves_no_run_and_the_repeat_succeeds(tmp_path: Path) -> None:
    writer = multiprocessing.get_context("fork").Process(target=_write_slowly, args=(tmp_path / "run",))
    writer.start()
    while not (tmp_path / "run.partial").exists():
        time.sleep(0.01)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert not (tmp_path / "run").exists()
    write_run(tmp_path / "run", some_facts(), some_tables(ATTEMPTS), COST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.cost.json"]


def test_trace_is_known_by_its_content(tmp_path: Path) -> None:
    assert trace_facts(a_trace(tmp_path / "here", digest="d1")) == trace_facts(a_trace(tmp_path / "there", digest="d1"))
    assert trace_facts(a_trace(tmp_path / "other", digest="d2")) != trace_facts(tmp_path / "here")
    with pytest.raises(TraceFormatError, match="not a canonical trace"):
        trace_facts(tmp_path)
