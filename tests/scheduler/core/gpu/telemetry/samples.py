"""Telemetry in the formats of the monitors, made from a few numbers."""

from __future__ import annotations

import json
from typing import Any

T0_US = 1_790_000_000_000_000


def inspector_line(
    rank: int = 0, sequence: int = 1, *, ranks: int = 8, communicator: str = "0xabc", op: str = "AllReduce",
    size: int = 1 << 26, took_us: float = 1000.0, host: str | None = None, pid: int | None = None,
    version: str = "v4.2", peer: int | None = None, start_us: float | None = None, **extra: Any,
) -> bytes:  # fmt: skip
    """One record as NCCL Inspector writes it; verbose where `start_us` is given, point-to-point where `peer` is."""
    kind = "coll" if peer is None else "p2p"
    perf: dict[str, Any] = {
        kind: op, f"{kind}_sn": sequence, f"{kind}_msg_size_bytes": size, f"{kind}_exec_time_us": took_us,
        f"{kind}_timing_source": "kernel_gpu", f"{kind}_algobw_gbs": size / max(took_us, 1) / 1e3,
        f"{kind}_busbw_gbs": 1.75 * size / max(took_us, 1) / 1e3,
    }  # fmt: skip
    if peer is not None:
        perf["p2p_peer"] = peer
    if start_us is not None:
        perf["event_trace_sn"] = {f"{kind}_start_sn": 1, f"{kind}_stop_sn": 2, "kernel_events": []}
        perf["event_trace_ts"] = {
            f"{kind}_start_ts": start_us, f"{kind}_stop_ts": start_us + 5,
            "kernel_events": [{"channel_id": 0, "kernel_start_ts": start_us + 9, "kernel_stop_ts": start_us + took_us}],
        }  # fmt: skip
    return json.dumps({
        "header": {"id": communicator, "comm_name": "unknown", "rank": rank, "n_ranks": ranks, "nnodes": 1},
        "metadata": {
            "inspector_output_format_version": version, "git_rev": "", "rec_mechanism": "nccl_profiler_interface",
            "dump_timestamp_us": T0_US + sequence * 1_000_000, "hostname": f"h{rank // 8}" if host is None else host,
            "pid": 1000 + rank if pid is None else pid,
        },
        f"{kind}_perf": perf | extra,
    }).encode()  # fmt: skip


def inspector_metrics(version: str = "v5.1") -> bytes:
    """A file of the Inspector's Prometheus mode."""
    labels = f'version="{version}",slurm_job_id="7",node="h0",gpu="GPU3",comm_name="DP, 0",n_nodes="2",nranks="16"'
    collective = f'{{{labels},collective="AllReduce",message_size="4-5GB",algo_proto="Ring_ll"}}'
    p2p = f'{{{labels},p2p_operation="Send",message_size="512-513MB"}}'
    return (
        f"nccl_bus_bandwidth_gbs{collective} 678.263\nnccl_collective_exec_time_microseconds{collective} 9498.47\n"
        f"nccl_p2p_bus_bandwidth_gbs{p2p} 464.9\nnccl_p2p_exec_time_microseconds{p2p} 1154.87\n"
    ).encode()


def ras_status(
    counts: dict[int, int | None], *, at: str = "2026-03-01 10:00:00", communicator: str = "0xabc",
    size: int | None = None, world: dict[int, int] | None = None, dead: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """An answer to STATUS with one communicator: AllReduces by rank, None for a rank that does not answer.

    world: the process of each rank, where it is not the rank's own number.
    """
    place = {rank: (world or {}).get(rank, rank) for rank in counts}
    base = {
        rank: {"rank": rank, "host": f"h{process // 8}", "pid": 1000 + process, "cuda_dev": process % 8,
               "nvml_dev": process % 8}
        for rank, process in place.items()
    }  # fmt: skip
    answered = [
        base[rank] | {
            "status": {"init_state": 0, "async_error": 0, "finalize_called": False, "destroy_flag": False,
                       "abort_flag": False},
            "collective_counts": {"Broadcast": 1, "Reduce": 0, "AllGather": 0, "ReduceScatter": 0, "AllReduce": count},
        }
        for rank, count in counts.items() if count is not None
    ]  # fmt: skip
    missing = [
        base[rank] | {"status": {"unresponsive": True, "considered_dead": dead}}
        for rank, count in counts.items() if count is None
    ]  # fmt: skip
    one = {
        "hash": communicator, "secondary_hash": "0x1:0x2", "size": size or len(counts), "ranks_count": len(answered),
        "missing_ranks_count": len(missing), "ranks": answered, "missing_ranks": missing,
    }  # fmt: skip
    return {
        "nccl_version": "2.29.1", "cuda_runtime_version": 13000, "cuda_driver_version": 13000, "timestamp": at,
        "communicators_count": 1, "communicators": [one], "ras": {"collection_time_sec": 0.01, "timeouts_count": 0},
    }  # fmt: skip


def ras_event(event: str = "PEER_DEAD", host: str = "h0", pid: int = 1001, gpu: int = 1) -> dict[str, Any]:
    """A message of MONITOR."""
    peer = {"host": host, "pid": pid, "cuda_devs": [gpu], "nvml_devs": [gpu]}
    return {"timestamp": "2026-03-01 10:00:09", "group": "LIFECYCLE", "event": event, "peer": peer, "details": ""}


def xid_text(xid: int = 79, pci: str = "PCI:0000:9b:00", rest: str = "pid=1234, name=python3, something") -> str:
    """The driver's message, without what the log puts before it."""
    return f"NVRM: Xid ({pci}): {xid}, {rest}"


def dcgm_scrape(
    *, xid: int = 0, gpu: int = 3, host_label: str = "Hostname", extra: tuple[tuple[str, str, float], ...] = ()
) -> bytes:
    """A scrape of one GPU. extra: (metric, further labels, value)."""
    labels = f'gpu="{gpu}",UUID="GPU-1",pci_bus_id="00000000:9B:00.0",modelName="H100",{host_label}="n1"'
    lines = [
        "# HELP DCGM_FI_DEV_GPU_TEMP GPU temperature (in C).", "# TYPE DCGM_FI_DEV_GPU_TEMP gauge",
        f"DCGM_FI_DEV_GPU_TEMP{{{labels}}} 41",
        f'DCGM_FI_DEV_XID_ERRORS{{{labels},err_code="{xid}",err_msg=""}} {xid}',
        f"DCGM_FI_DEV_ROW_REMAP_FAILURE{{{labels}}} 9223372036854775794",
        *(f"{name}{{{labels}{more}}} {value!r}" for name, more, value in extra),
    ]  # fmt: skip
    return "\n".join(lines).encode()


def health_event(**changes: Any) -> dict[str, Any]:
    """A HealthEvent of NVSentinel."""
    return {
        "version": 1, "agent": "syslog-health-monitor", "componentClass": "GPU", "checkName": "SysLogsXIDError",
        "isFatal": True, "isHealthy": False, "message": "Xid 79", "recommendedAction": "RESTART_BM",
        "errorCode": ["79"], "entitiesImpacted": [{"entityType": "GPU", "entityValue": "3"}],
        "metadata": {"driver_version": "580.1"}, "generatedTimestamp": "2026-03-01T10:00:00.123456789Z",
        "nodeName": "n1", "quarantineOverrides": None, "drainOverrides": None,
    } | changes  # fmt: skip


def gpud_states(component: str = "accelerator-nvidia-ecc", **changes: Any) -> list[dict[str, Any]]:
    """GPUd's answer to /v1/states for one component."""
    state = {
        "time": "2026-03-01T10:00:00Z", "component": component, "name": "ecc", "run_mode": "auto",
        "health": "Unhealthy", "reason": "uncorrected errors",
        "suggested_actions": {"repair_actions": ["HARDWARE_INSPECTION"]},
    }  # fmt: skip
    return [{"component": component, "states": [state | changes]}]


def gpud_events(message: str = "XID 79 (GPU has fallen off the bus)", kind: str = "Fatal") -> list[dict[str, Any]]:
    """GPUd's answer to /v1/events for one component."""
    event = {"time": "2026-03-01T10:00:00Z", "name": "error_xid", "type": kind, "message": message}
    return [{"component": "accelerator-nvidia-error-xid", "startTime": "", "endTime": "", "events": [event]}]
