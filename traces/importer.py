"""Importing a published trace: files in, canonical folder out, whole or not at all.

Everything is built in `DIR.partial` beside the target, which takes its final name by one rename at the very end. Each
source file becomes Parquet under `parts/` there and then leaves a record; the record of an unchanged file (same path,
size, modification time, rules and options) spares that file the next time, whatever ended the last attempt, kill -9
included. The later steps are fast and start anew.

Files are independent, so a few threads convert them, each with a DuckDB of its own that streams batches: memory is
bounded by batches, not by files. Every table that is a recording is left in order of time; sources that come in that
order (2011 does) are taken as they are, others are sorted outside memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from traces.convert import Output, clock_of, convert_file
from traces.errors import OutputExistsError, TraceError
from traces.layout import Layout
from traces.reader import Reader, get_reader
from traces.schema import Gap, Meta, Source, sql_text, write_meta
from traces.serverless import Assembly
from traces.sources import SourceFile, check_file, find_gaps, read_checksums
from traces.tables import ROW_GROUP, digest_of, open_writer
from traces.tasks import TaskSources, write_tasks

Progress = Callable[[str, int, int], None]  # step, done, of
MEMORY_MIB = 1024  # for DuckDB, all threads together; the task state comes on top
UNSORTED = {"usage"}  # windows, not a sequence of events: left as they come
PART_GROUPS = 16  # row groups to a part of a table that had to be sorted
CONVERTER = 1  # to be raised when the same file and rules would give other rows


class PartRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a source file that is done. stamp: equal stamps mean there is nothing to do again."""

    stamp: str
    sha256: str
    verified: bool
    bytes: int
    outputs: list[Output]


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. rows, rejected: per table. rows_per_s counts source rows over the whole import."""

    rows: dict[str, int]
    rejected: dict[str, int]
    gaps: list[Gap]
    seconds: float
    rows_per_s: float
    digest: str
    notes: list[str]
    illegal_transitions: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class _Staging:
    """The folders of an import that is under way."""

    root: Path

    @property
    def parts(self) -> Path:
        return self.root / "parts"

    @property
    def trace(self) -> Path:
        return self.root / "trace"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    @property
    def previous(self) -> Path:
        return self.root / "previous"


def import_trace(
    format_name: str,
    sources: Sequence[Path | str],
    out: Path | str,
    *,
    force: bool = False,
    strict: bool = False,
    threads: int | None = None,
    progress: Progress = lambda step, done, of: None,
) -> ImportReport:
    """Read the published files of a format into the canonical trace folder `out`.

    sources: folders as published, table folders, or files. force: replace an existing trace. strict: stop at the first
    row that would be rejected. Raises TraceFormatError when a source is not what it says, OutputExistsError when `out`
    is taken, TraceError when the import could not be carried out; `out` is then as it was before.
    """
    started = time.monotonic()
    out = Path(out).absolute()
    reader = get_reader(format_name)
    files, notes = reader.find([Path(source) for source in sources])
    staging = _Staging(out.with_name(out.name + ".partial"))
    _refuse_overwrite(out, force)  # before anything is written; again when nobody else can
    with _locked(staging), _as_trace_error(out):
        _restore_previous(staging, out)
        _refuse_overwrite(out, force)
        records = _convert_all(reader, files, staging, strict, threads or min(os.cpu_count() or 1, 8), progress)
        meta = _assemble(reader, files, records, staging, notes, strict, progress)
        _publish(staging, out)
    seconds = time.monotonic() - started
    source_rows = sum(record.outputs[0].source_rows for record in records)
    return ImportReport(
        rows=meta.rows, rejected=meta.rejected, gaps=meta.gaps, seconds=round(seconds, 3),
        rows_per_s=round(source_rows / max(seconds, 1e-9)), digest=meta.digest, notes=meta.notes,
        illegal_transitions=meta.illegal_transitions,
    )  # fmt: skip


@contextlib.contextmanager
def _locked(staging: _Staging) -> Iterator[None]:
    """Hold the staging folder; TraceError if another import does. The lock dies with the process."""
    try:
        staging.root.mkdir(parents=True, exist_ok=True)
        lock = (staging.root / "lock").open("w")
    except OSError as error:
        raise TraceError(f"cannot write beside the output: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TraceError(f"another import is writing {staging.root}; wait for it, or stop it") from error
        yield


@contextlib.contextmanager
def _as_trace_error(out: Path) -> Iterator[None]:
    """Turn what the disk and DuckDB may raise into a message that says what could not be done."""
    try:
        yield
    except (OSError, duckdb.Error, MemoryError) as error:
        raise TraceError(
            f"importing into {out} failed: {error}. Cure it and repeat: finished files are kept"
        ) from error


def _restore_previous(staging: _Staging, out: Path) -> None:
    """Undo a replacement that was killed between its two renames, or end one that was killed after them."""
    if not staging.previous.exists():
        return
    if (out / "meta.json").is_file():
        shutil.rmtree(staging.previous)
    elif not out.exists():
        staging.previous.rename(out)


def _refuse_overwrite(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise OutputExistsError(f"{out} exists. Give another -o, or --force to replace it")
    if not (out / "meta.json").is_file():
        raise OutputExistsError(f"{out} exists and is not a trace; --force replaces traces only")


def _convert_all(
    reader: Reader, files: list[SourceFile], staging: _Staging, strict: bool, threads: int, progress: Progress
) -> list[PartRecord]:
    """Convert every file that has no valid record yet; records in the order of the files."""
    sums = {folder: read_checksums(folder / "any") for folder in {file.path.parent for file in files}}
    wanted = {_record_path(staging, file) for file in files}
    for stale in set(staging.parts.glob("*.json")) - wanted:
        stale.unlink()
    sizes = [file.path.stat().st_size for file in files]
    records: dict[int, PartRecord] = {}
    with ThreadPoolExecutor(threads) as pool:
        jobs = {}
        for position, file in enumerate(files):
            published = sums[file.path.parent].get(file.path.resolve())
            task = _Conversion(file, reader.tables[file.table], published, strict, MEMORY_MIB // threads)
            jobs[pool.submit(task.run, staging)] = position
        try:
            for job in as_completed(jobs):
                records[jobs[job]] = job.result()
                progress("reading", sum(sizes[position] for position in records), sum(sizes))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [records[position] for position in range(len(files))]


def _record_path(staging: _Staging, file: SourceFile) -> Path:
    return staging.parts / f"{file.table}-{file.name}.json"


@dataclass(frozen=True, slots=True)
class _Conversion:
    """One file's way to Parquet."""

    file: SourceFile
    layouts: tuple[Layout, ...]
    published: str | None
    strict: bool
    memory_mib: int

    def run(self, staging: _Staging) -> PartRecord:
        """The record of the file, converting it unless that was done before."""
        path, stamp = _record_path(staging, self.file), self.stamp()
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            record = msgspec.json.decode(path.read_bytes(), type=PartRecord)
            if record.stamp == stamp:
                return record
        path.unlink(missing_ok=True)
        sha256 = check_file(self.file.path, self.published)
        outputs = convert_file(
            self.file.path, self.layouts, staging.parts, self.file.name, strict=self.strict, memory_mib=self.memory_mib
        )
        record = PartRecord(
            stamp=stamp, sha256=sha256, verified=self.published is not None, bytes=self.file.path.stat().st_size,
            outputs=outputs,
        )  # fmt: skip
        replace_file(path, msgspec.json.encode(record))
        return record

    def stamp(self) -> str:
        """A digest of all that the result depends on."""
        stat = self.file.path.stat()
        parts = [(x.table, x.fields, x.columns, x.extra_rules, x.source, x.where) for x in self.layouts]
        described = (
            CONVERTER,
            str(self.file.path.resolve()),
            stat.st_size,
            stat.st_mtime_ns,
            self.published,
            self.strict,
            parts,
        )
        return hashlib.sha256(repr(described).encode()).hexdigest()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_bytes(content)
    draft.replace(path)


def _assemble(
    reader: Reader, files: list[SourceFile], records: list[PartRecord], staging: _Staging, notes: list[str],
    strict: bool, progress: Progress,
) -> Meta:  # fmt: skip
    """Put the tables together under `staging.trace`, add tasks and attempts, and describe it all in meta.json."""
    for folder in (staging.trace, staging.scratch):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    outputs: dict[str, list[Output]] = {}
    for output in (output for record in records for output in record.outputs):
        outputs.setdefault(output.table, []).append(output)
    rows = {
        table: sum(output.rows for output in group) for table, group in outputs.items() if not table.startswith("_")
    }
    rejected = {table.lstrip("_"): sum(output.rejected for output in group) for table, group in outputs.items()}
    illegal: dict[str, dict[str, int]] = {}
    memory = {"memory_limit": f"{MEMORY_MIB}MiB", "temp_directory": str(staging.scratch)}
    with duckdb.connect(config=memory) as con:
        for table, group in sorted(outputs.items()):
            if not table.startswith("_"):
                _place(con, staging, table, group)
        paths = {table: _paths(staging.trace, table) for table in rows}
        if "task_events" in rows:
            seen = 0

            def follow(count: int) -> None:
                nonlocal seen
                seen += count
                progress("following tasks", seen, rows["task_events"])

            pods = [staging.parts / "_pods" / output.file for output in outputs.get("_pods", [])]
            sources = TaskSources(
                paths["task_events"], paths.get("job_events", ()), paths.get("task_constraints", ()), pods
            )
            counts = write_tasks(sources, staging.trace, staging.scratch, con, follow)
            rows |= {"tasks": counts.tasks, "attempts": counts.attempts}
            illegal = counts.illegal
        assembly = Assembly(con, staging.parts, staging.trace, outputs)
        if reader.finish is not None:
            progress("numbering functions", 0, 1)
            reader.finish(assembly)
            progress("numbering functions", 1, 1)
            rows |= assembly.rows
    _collect_rejected(staging, sum(rejected.values()))
    meta = Meta(
        format=reader.format, digest=digest_of(staging.trace), units=reader.units, tiers=list(reader.tiers),
        time_range_us=_time_range(outputs), rows=dict(sorted(rows.items())),
        rejected={table: count for table, count in sorted(rejected.items()) if count},
        gaps=find_gaps(files) + reader.holes(files) + assembly.gaps,
        illegal_transitions=illegal, sources=_sources(files, records),
        notes=notes + assembly.notes, options={"strict": strict},
        fleet=reader.fleet(files),
    )  # fmt: skip
    write_meta(meta, staging.trace)
    return meta


def _paths(folder: Path, table: str) -> list[Path]:
    return sorted((folder / table).glob("*.parquet"))


def _place(con: duckdb.DuckDBPyConnection, staging: _Staging, table: str, outputs: list[Output]) -> None:
    """Put a table's parts into the trace, in order of time."""
    (staging.trace / table).mkdir()
    spans = [(o.first_us, o.latest_us) for o in outputs if o.first_us is not None and o.latest_us is not None]
    in_order = all(output.is_sorted for output in outputs) and all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    parts = [staging.parts / table / output.file for output in outputs]
    if in_order or table in UNSORTED:
        for part in parts:
            _link(part, staging.trace / table / part.name)
        return
    schema = pq.read_schema(parts[0])
    clock = clock_of(schema)
    names = ", ".join(sql_text(str(part)) for part in parts)
    rows = con.sql(
        f"SELECT {', '.join(schema.names)} FROM read_parquet([{names}], filename=true, file_row_number=true) "
        f"ORDER BY {clock}, filename, file_row_number"
    )
    batches = iter(rows.to_arrow_reader(ROW_GROUP))
    for number in itertools.count():
        group = list(itertools.islice(batches, PART_GROUPS))
        if not group:
            return
        with open_writer(staging.trace / table / f"part-{number:05}.parquet", table, schema) as writer:
            for batch in group:
                writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _collect_rejected(staging: _Staging, count: int) -> None:
    if not count:
        return
    with open_writer(staging.trace / "rejected.parquet", "rejected") as writer:
        for part in sorted((staging.parts / "_rejected").glob("*.parquet")):
            for batch in pq.ParquetFile(part).iter_batches():
                writer.write_batch(batch)


def _time_range(outputs: dict[str, list[Output]]) -> tuple[int, int] | None:
    """First and last event of the tasks; of everything in a trace without tasks (machines often span more)."""
    tables = ["task_events"] if "task_events" in outputs else list(outputs)
    firsts = [output.first_us for table in tables for output in outputs[table] if output.first_us is not None]
    lasts = [output.last_us for table in tables for output in outputs[table] if output.last_us is not None]
    return (min(firsts), max(lasts)) if firsts and lasts else None


def _sources(files: list[SourceFile], records: list[PartRecord]) -> list[Source]:
    return [
        Source(
            table=file.table, file=str(file.path), bytes=record.bytes, sha256=record.sha256, verified=record.verified,
            rows=record.outputs[0].source_rows, rejected=sum(output.rejected for output in record.outputs),
        )
        for file, record in zip(files, records, strict=True)
    ]  # fmt: skip


def _publish(staging: _Staging, out: Path) -> None:
    """Give the finished trace its name; the one it replaces, if any, goes last."""
    if out.exists():
        if (out / "meta.json").is_file():
            out.rename(staging.previous)
        else:
            out.rmdir()
    staging.trace.rename(out)
    for record in staging.parts.glob("*.json"):  # first: a record says that its part is there
        record.unlink()
    shutil.rmtree(staging.root, ignore_errors=True)
