"""A folder of telemetry, whatever its files are called: recognised by what is in them, read, and judged together.

A file at the top belongs to the node that its own lines name, else to the node that its name begins with
(`gpu-7.dmesg`); one in a subfolder to the node that the subfolder is named after. What is not telemetry of a format we
know is left to others (dumps of PyTorch's Flight Recorder) and not touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np

from scheduler.core.gpu.delay_matrix import DelayMatrix
from scheduler.core.gpu.findings import Culprit, Findings
from scheduler.core.gpu.signals import Signal
from scheduler.core.gpu.telemetry.dcgm import DcgmReader
from scheduler.core.gpu.telemetry.gpud import gpud_signals
from scheduler.core.gpu.telemetry.inspector import InspectorReader
from scheduler.core.gpu.telemetry.inspector_links import diagnose_messages, message_delays
from scheduler.core.gpu.telemetry.inspector_metrics import read_inspector_metrics
from scheduler.core.gpu.telemetry.inspector_slow import diagnose_operations
from scheduler.core.gpu.telemetry.kernel_log import read_kernel_log
from scheduler.core.gpu.telemetry.log_lines import is_log_line
from scheduler.core.gpu.telemetry.node_state import node_signals
from scheduler.core.gpu.telemetry.nvsentinel import health_event_signals
from scheduler.core.gpu.telemetry.ras import RasEvent, RasPoll, read_ras
from scheduler.core.gpu.telemetry.ras_hang import diagnose_ras
from scheduler.core.gpu.telemetry.rejects import Rejects, json_documents
from scheduler.core.gpu.telemetry.verdict import ORDER, judge, merge, seen_signals
from scheduler.live.node_health import ShownNode, state_of

Kind = Literal["inspector", "inspector-metrics", "ras", "kernel-log", "dcgm", "nvsentinel", "gpud", "nodes"]
HEAD_BYTES: Final = 1 << 16
MOST_BYTES: Final = 1 << 30
MOST_FILES: Final = 100_000
JSON_KINDS: Final[tuple[tuple[Kind, re.Pattern[bytes]], ...]] = (
    ("inspector", re.compile(rb'"(?:coll_perf|p2p_perf|dump_stats|inspector_output_format_version)"\s*:')),
    ("ras", re.compile(rb'"communicators"\s*:|"event"\s*:\s*"PEER_')),
    ("ras", re.compile(rb'"peer"\s*:\s*\{')),
    ("nvsentinel", re.compile(rb'"checkName"\s*:')),
    ("gpud", re.compile(rb'"(?:run_mode|repair_actions|component_type)"\s*:|"(?:states|events)"\s*:\s*[\[n]')),
    ("gpud", re.compile(rb'"component"\s*:\s*"accelerator-|"health"\s*:\s*"(?:Healthy|Unhealthy|Degraded|Initial)')),
    ("nodes", re.compile(rb'"kind"\s*:\s*"(?:Node|NodeList)"')),
    ("kernel-log", re.compile(rb'"(?:MESSAGE|__REALTIME_TIMESTAMP)"\s*:')),
)
METRICS: Final[tuple[tuple[Kind, re.Pattern[bytes]], ...]] = (
    ("dcgm", re.compile(rb"(?m)^(?:# (?:HELP|TYPE) )?DCGM_[A-Z]")),
    ("inspector-metrics", re.compile(rb"(?m)^(?:# (?:HELP|TYPE) )?nccl_[a-z0-9_]+[ {]")),
)
LOG_MARKS: Final = (b"NVRM: ", b": SXid (")
LOG_LINES: Final = 20
MOST_DELAYS: Final = 2_000
ACCUSED: Final = ("rank", "host", "gpu", "syndrome", "confidence", "evidence", "link", "among")


@dataclass(slots=True)
class Telemetry:
    """What a folder holds. files: those that were recognised, also where nothing of them could be read. places: host
    and GPU of the job's ranks. delays: of its messages, where any were recorded."""

    files: dict[Path, Kind] = field(default_factory=dict)
    signals: list[Signal] = field(default_factory=list)
    verdict: Findings = field(default_factory=lambda: Findings("undecided"))
    unreadable: list[dict[str, Any]] = field(default_factory=list)
    ranks: int = 0
    places: dict[int, tuple[str, int | None]] = field(default_factory=dict)
    delays: DelayMatrix | None = None

    def report(self) -> dict[str, Any]:
        """What `stowage diagnose` prints of it."""
        found = self.verdict
        return {
            "verdict": found.verdict,
            "accused": [{name: getattr(one, name) for name in ACCUSED} for one in found.accused],
            "missing_ranks": [], "late": [], "notes": found.notes, "unreadable": self.unreadable, "ranks": self.ranks,
            "signals": self.signal_rows(), "delays": self.delay_rows(),
        }  # fmt: skip

    def added_to(self, report: dict[str, Any]) -> dict[str, Any]:
        """A report on dumps of the Flight Recorder, with what the telemetry beside them says."""
        if not self.files:
            return report
        ours = self.report()
        of_dumps = [Culprit(**{name: one[name] for name in ACCUSED}) for one in report["accused"]]
        places = [(None, None) if one.rank is None else self.places.get(one.rank, (None, None)) for one in of_dumps]
        of_dumps = [
            replace(one, host=host, gpu=gpu) for one, (host, gpu) in zip(of_dumps, places, strict=True)
        ]
        known = ORDER.index(report["verdict"]) if report["verdict"] in ORDER else -1
        return report | {
            "verdict": ours["verdict"] if ORDER.index(ours["verdict"]) < known else report["verdict"],
            "accused": [
                (report["accused"][n] if n < len(of_dumps) else {}) | {name: getattr(one, name) for name in ACCUSED}
                for n, one in enumerate(merge(of_dumps, self.verdict.accused))
            ],
            "notes": [*report["notes"], *ours["notes"]],
            "unreadable": [*report["unreadable"], *self.unreadable],
            "ranks": max(report["ranks"], self.ranks),
            "signals": ours["signals"],
            "delays": ours["delays"],
        }

    def delay_rows(self) -> list[dict[str, Any]]:
        """Cells of the delay matrix, the slowest `MOST_DELAYS` of them: how many times as long as usual."""
        if self.delays is None:
            return []
        factor = np.exp(self.delays.log_delay)
        slowest = np.argsort(-factor, kind="stable")[:MOST_DELAYS]
        return [
            {"source": int(self.delays.source[cell]), "target": int(self.delays.target[cell]),
             "factor": float(factor[cell]), "samples": int(self.delays.samples[cell])}
            for cell in slowest
        ]  # fmt: skip

    def signal_rows(self) -> list[dict[str, Any]]:
        """Signals, equal ones counted, the worst first."""
        return [
            {"node": one.signal.node, "gpu": one.signal.gpu, "component": one.signal.component,
             "severity": one.signal.severity, "code": one.signal.code, "source": one.signal.source,
             "message": one.signal.message, "is_open": one.signal.is_open, "count": one.count,
             "first_s": one.first_s, "last_s": one.signal.time_s}
            for one in seen_signals(self.signals)
        ]  # fmt: skip


def kind_of(head: bytes) -> Kind | None:
    """What a file is by its beginning; None for what is no telemetry that we read."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\0")
    if text[:1] in (b"{", b"["):
        return next((kind for kind, mark in JSON_KINDS if mark.search(text)), None) or _log_kind(text)
    if b"\0" in text or text[:1] in (b"\x80", b""):  # a pickle, an archive, nothing
        return None
    return next((kind for kind, mark in METRICS if mark.search(text)), None) or _log_kind(text)


def _log_kind(text: bytes) -> Kind | None:
    if any(mark in text for mark in LOG_MARKS):
        return "kernel-log"
    lines = text.splitlines()[:LOG_LINES]
    like = sum(is_log_line(line[:400].decode("utf-8", "replace")) for line in lines)
    return "kernel-log" if like * 2 > len(lines) else None


def read_telemetry(folder: Path) -> Telemetry:
    """Everything in the folder and its subfolders that is telemetry, judged. Files that cannot be opened are named."""
    found = Telemetry()
    reader = _Reader(found)
    for path in _files(folder):
        try:
            with path.open("rb") as file:
                kind = kind_of(file.read(HEAD_BYTES))
        except OSError as error:
            found.unreadable.append({"file": str(path), "rank": None, "why": f"cannot be read: {error.strerror}"})
            continue
        if kind is not None:
            found.files[path] = kind
    # scrapes before logs: they say which GPU is at which address
    for path, kind in sorted(found.files.items(), key=lambda item: (item[1] != "dcgm", _age(item[0]), item[0])):
        reader.read(folder, path, kind)
    reader.judge()
    return found


def _files(folder: Path) -> Iterator[Path]:
    """Files of the folder and of its folders, by name; what lies deeper belongs to nobody."""
    seen = 0
    for path in sorted(folder.iterdir()):
        for one in sorted(path.iterdir()) if path.is_dir() else [path]:
            if one.is_file() and (seen := seen + 1) <= MOST_FILES:
                yield one


def _age(path: Path) -> float:
    return path.stat().st_mtime


class _Reader:
    """Reads the files of one folder into a Telemetry."""

    def __init__(self, found: Telemetry) -> None:
        self.found = found
        self.inspector = InspectorReader()
        self.dcgm = DcgmReader()
        self.polls: list[RasPoll] = []
        self.events: list[RasEvent] = []
        self.means = 0

    def read(self, folder: Path, path: Path, kind: Kind) -> None:
        """One file; what it broke is named."""
        node = path.parent.name if path.parent != folder else path.name.partition(".")[0]
        rejects = Rejects()
        try:
            size = path.stat().st_size
            if size > MOST_BYTES:
                rejects.add(0, f"{size} bytes, more than {MOST_BYTES}")
            else:
                READ[kind](self, path, node, rejects)
        except (OSError, ValueError) as error:
            rejects.add(0, str(error))
        if rejects.total:
            self.found.unreadable.append({
                "file": str(path), "rank": None, "why": f"{kind}: {rejects.words()}", "rejected": rejects.total,
                "first": [{"line": one.line, "rule": one.rule} for one in rejects.named],
            })  # fmt: skip

    def judge(self) -> None:
        """The verdict on what was read."""
        self.inspector.rejects = Rejects()
        operations = self.inspector.operations()
        findings: list[Findings] = []
        if self.polls or self.events:
            findings.append(diagnose_ras(self.polls, self.events))
        if len(operations):
            slow = diagnose_operations(operations)
            late = {one.rank for one in slow.accused if one.rank is not None}
            self.found.delays = message_delays(operations)
            findings += [slow, diagnose_messages(operations, late, self.found.delays)]
        rank_at = {
            (one.host, one.gpu): one.rank
            for poll in self.polls
            for communicator in sorted(poll.communicators.values(), key=lambda one: one.size)
            for one in communicator.ranks.values()
            if one.gpu is not None
        }  # of the widest communicator, which comes last
        self.found.places = {one.job_rank: (one.host, None) for one in operations.processes if one.host}
        self.found.places |= {rank: place for place, rank in rank_at.items()}
        self.found.verdict = judge(self.found.signals, findings, rank_at)
        if self.inspector.rejects.total:
            self.found.verdict.notes.append(f"NCCL Inspector: {self.inspector.rejects.words()}")
        if self.means:
            self.found.verdict.notes.append(f"{self.means} means of NCCL Inspector's metrics: they name no rank")
        widest = [communicator.size for poll in self.polls for communicator in poll.communicators.values()]
        self.found.ranks = max([*widest, *(one.job_ranks for one in operations.processes), 0])

    def _inspector(self, path: Path, node: str, rejects: Rejects) -> None:
        self.inspector.rejects = rejects
        with path.open("rb") as lines:
            self.inspector.read(lines, node)

    def _means(self, path: Path, node: str, rejects: Rejects) -> None:
        with path.open("rb") as lines:
            self.means += len(read_inspector_metrics(lines, rejects))

    def _ras(self, path: Path, node: str, rejects: Rejects) -> None:
        polls, events = read_ras(_text(path), rejects)
        self.polls += polls
        self.events += events

    def _log(self, path: Path, node: str, rejects: Rejects) -> None:
        written_s = _age(path)
        with path.open("rb") as lines:
            self.found.signals += read_kernel_log(lines, rejects, node, self.dcgm.gpu_at, written_s)

    def _dcgm(self, path: Path, node: str, rejects: Rejects) -> None:
        """Scrapes follow one another by the age of their files."""
        self.dcgm.rejects = rejects
        with path.open("rb") as lines:
            self.found.signals += self.dcgm.read(lines, node, _age(path))

    def _sentinel(self, path: Path, node: str, rejects: Rejects) -> None:
        events = (document for _, document in json_documents(_text(path), rejects))
        self.found.signals += health_event_signals(events, rejects, node)

    def _gpud(self, path: Path, node: str, rejects: Rejects) -> None:
        answers = (document for _, document in json_documents(_text(path), rejects))
        self.found.signals += gpud_signals(answers, rejects, node)

    def _nodes(self, path: Path, node: str, rejects: Rejects) -> None:
        for line, document in json_documents(_text(path), rejects):
            items = document.get("items") if isinstance(document, dict) else document
            for one in items if isinstance(items, list) else [document]:
                if not isinstance(one, dict) or one.get("kind", "Node") != "Node":
                    continue
                try:
                    self.found.signals += node_signals(state_of(msgspec.convert(one, ShownNode)), rejects)
                except (msgspec.ValidationError, ValueError) as error:
                    rejects.add(line, f"Node: {error}")


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


READ: Final[dict[Kind, Callable[[_Reader, Path, str, Rejects], None]]] = {
    "inspector": _Reader._inspector,
    "inspector-metrics": _Reader._means,
    "ras": _Reader._ras,
    "kernel-log": _Reader._log,
    "dcgm": _Reader._dcgm,
    "nvsentinel": _Reader._sentinel,
    "gpud": _Reader._gpud,
    "nodes": _Reader._nodes,
}
