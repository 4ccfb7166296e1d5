"""Replays on many cores or many machines: a pool of local processes, or a Dask cluster.

Which of them ran a replay, and how many at once, changes no byte of its run folder. A Dask cluster must see the trace
and the output folder under the same paths (a shared file system) and have the same versions installed: versions are
part of a run, and another numba may round another way.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analytics.errors import InputError, StudyFailed
from analytics.facts import installed_versions, usable_cores
from analytics.options import ReplayOptions
from analytics.runs import read_run

CONNECT_TIMEOUT_S = 10

log = logging.getLogger(__name__)

# (options, replace an existing run) -> run folder. Must be importable by name in another process.
Replay = Callable[[ReplayOptions, bool], Path]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one replay: its digest, or why there is none."""

    out: Path
    digest: str | None
    error: str | None = None


def run_replay(options: ReplayOptions, force: bool) -> Path:
    """The replay engine, imported where it runs."""
    from analytics import replay

    return replay.run_replay(options, force=force)


def run_all(
    replays: Sequence[ReplayOptions],
    *,
    force: bool = False,
    workers: int | None = None,
    cluster: str | None = None,
    replay: Replay = run_replay,
) -> Iterator[Outcome]:
    """Run the replays and yield each outcome as it comes; one that fails does not stop the others.

    workers: local processes, all usable cores by default. cluster: address of a Dask scheduler to use instead.
    Raises InputError if the cluster cannot be used, StudyFailed if a worker process dies.
    """
    if not replays:
        return
    if cluster:
        yield from _on_cluster(replays, force, cluster, replay)
    else:
        yield from _in_processes(replays, force, workers or usable_cores(), replay)


def _in_processes(replays: Sequence[ReplayOptions], force: bool, workers: int, replay: Replay) -> Iterator[Outcome]:
    # spawn, not fork: DuckDB, Arrow and numba hold threads and locks that a forked child would inherit half-way
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(replays)), mp_context=context) as pool:
        try:
            futures = [pool.submit(_attempt, options, force, replay) for options in replays]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as died:
            raise StudyFailed(
                "a worker process died, perhaps for want of memory: finished replays are kept; "
                "run the same command again to go on, with fewer --workers if it was memory"
            ) from died
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _on_cluster(replays: Sequence[ReplayOptions], force: bool, address: str, replay: Replay) -> Iterator[Outcome]:
    from distributed import Client
    from distributed import as_completed as as_completed_on_cluster

    with _connect(Client, address) as client:
        _check_workers(client, address, sorted({options.trace for options in replays}))
        futures = [client.submit(_attempt, options, force, replay, pure=False) for options in replays]
        try:
            for future in as_completed_on_cluster(futures, loop=client.loop):
                if future.status != "finished":
                    raise StudyFailed(
                        f"the Dask cluster at {address} lost a replay ({future.status}): {future.exception()}; "
                        "finished ones are kept, run the same command again to go on"
                    )
                yield future.result()
        finally:
            client.cancel(futures)


def _connect(client: Any, address: str) -> Any:
    try:
        return client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as unreachable:
        raise InputError(
            f"no Dask scheduler answers at {address} (expected tcp://host:port): {unreachable}"
        ) from unreachable


def _check_workers(client: Any, address: str, traces: Sequence[Path]) -> None:
    """Every worker must have our versions and see the traces."""
    try:
        answers: dict[str, tuple[dict[str, str], list[str]]] = client.run(_describe_worker, list(traces))
    except Exception as broken:  # whatever a worker's environment raises while importing us
        raise InputError(f"the workers of {address} cannot run stowage: {broken!r}") from broken
    if not answers:
        raise InputError(f"the Dask scheduler at {address} has no workers")
    ours, wrong = installed_versions(), []
    for worker, (theirs, missing) in sorted(answers.items()):
        differing = [
            f"{name} {theirs.get(name)} instead of {ours[name]}" for name in ours if theirs.get(name) != ours[name]
        ]
        wrong += [f"{worker} has {', '.join(differing)}"] if differing else []
        wrong += [f"{worker} does not see {', '.join(missing)}"] if missing else []
    if wrong:
        raise InputError(f"workers of {address} would not give the same results: {'; '.join(wrong)}")


def _describe_worker(traces: list[Path]) -> tuple[dict[str, str], list[str]]:
    return installed_versions(), [str(trace) for trace in traces if not (trace / "meta.json").exists()]


def _attempt(options: ReplayOptions, force: bool, replay: Replay) -> Outcome:
    try:
        return Outcome(options.out, read_run(replay(options, force)).digest)
    except Exception as error:
        # A study goes on without this cell. The traceback of a bug would not survive the way to the parent.
        log.warning("replay=%s failed", options.out.name, exc_info=not hasattr(error, "exit_code"))
        return Outcome(options.out, None, str(error) if hasattr(error, "exit_code") else repr(error))
