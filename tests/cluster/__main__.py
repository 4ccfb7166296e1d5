"""A control plane for experiments by hand: `python -m tests.cluster up --nodes 100`, `status`, `down`.

`up` leaves a process of its own behind, which holds the control plane; `down`, or killing it, ends both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster import binaries
from tests.cluster.component import ComponentError
from tests.cluster.control_plane import ControlPlane

START_S = 180


def state_file() -> Path:
    return binaries.cache_root() / "running.json"


def running() -> dict[str, str | int] | None:
    """What `up` noted about the control plane that runs; None if none does."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        state: dict[str, str | int] = json.loads(state_file().read_text())
        if holds_a_cluster(int(state["pid"])):
            return state
    return None


def holds_a_cluster(pid: int) -> bool:
    """Whether the process is one of ours: the number may have gone to another since."""
    with contextlib.suppress(OSError):
        return b"tests.cluster\0hold" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def up(arguments: argparse.Namespace) -> int:
    if state := running():
        print(f"export KUBECONFIG={state['kubeconfig']}")
        print("it runs already, with the nodes it was started with", file=sys.stderr)
        return 1
    state_file().parent.mkdir(parents=True, exist_ok=True)
    state_file().unlink(missing_ok=True)
    log = state_file().with_name("running.log")
    command = [sys.executable, "-m", "tests.cluster", "hold", *sys.argv[2:]]
    with log.open("w") as output:
        holder = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and holder.poll() is None:
        if state := running():
            print(f"export KUBECONFIG={state['kubeconfig']}")
            print(f"logs and certificates are in {state['folder']}; `down` ends it", file=sys.stderr)
            return 0
        time.sleep(0.2)
    holder.terminate()
    print(log.read_text().strip(), file=sys.stderr)
    return 1


def hold(arguments: argparse.Namespace) -> int:
    """Start, note where, and wait for SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ControlPlane() as plane:
        plane.add_nodes(arguments.nodes, cpu=arguments.cpu, memory=arguments.memory, gpus=arguments.gpus)
        plane.start_scheduler()
        state = {"pid": os.getpid(), "kubeconfig": str(plane.kubeconfig), "folder": str(plane.folder)}
        partial = state_file().with_suffix(".partial")
        partial.write_text(json.dumps(state))
        partial.rename(state_file())
        try:
            while True:
                signal.pause()
        finally:
            state_file().unlink(missing_ok=True)


def down(arguments: argparse.Namespace) -> int:
    state = running()
    if state is None:
        print("no control plane runs", file=sys.stderr)
        return 1
    pid = int(state["pid"])
    os.kill(pid, signal.SIGTERM)
    while holds_a_cluster(pid):
        time.sleep(0.1)
    return 0


def status(arguments: argparse.Namespace) -> int:
    state = running()
    print(f"export KUBECONFIG={state['kubeconfig']}" if state else "no control plane runs")
    return 0 if state else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for action in (up, hold):
        command = commands.add_parser(action.__name__)
        command.add_argument("--nodes", type=int, default=10)
        command.add_argument("--cpu", default="8")
        command.add_argument("--memory", default="32Gi")
        command.add_argument("--gpus", type=int, default=0)
        command.set_defaults(run=action)
    for action in (down, status):
        commands.add_parser(action.__name__).set_defaults(run=action)
    arguments = parser.parse_args()
    try:
        code: int = arguments.run(arguments)
    except (binaries.ToolsUnavailable, ComponentError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
