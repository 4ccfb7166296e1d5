"""README.md, "On a cluster", command by command, as an operator would type them.

kwok marks pods as running without running them, so a stand-in does what the chart's pods would: it starts
kube-scheduler, the extender and the planner with the chart's own configuration and accounts, and runs the test pod.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.live.api import Api
from scheduler.live.cleanup import clean_up
from tests.cluster.api_client import ApiFailure, wait_for
from tests.cluster.component import free_port
from tests.cluster.control_plane import ControlPlane, is_healthy
from tests.cluster.planning import PlannerProcess, fragment, plans_of, running
from tests.cluster.test_chart import drop_definition
from tests.helm.conftest import ROOT

NAMESPACE = "stowage-system"


def commands() -> list[str]:
    """What stands after "$ " in the section's code blocks; a line that ends in a backslash goes on in the next."""
    section = (ROOT / "README.md").read_text().split("\n## On a cluster\n")[1].split("\n## ")[0]
    lines = "\n".join(re.findall(r"```\n(.*?)```", section, re.DOTALL)).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").split("  #")[0] for line in lines if line.startswith("$ ")]


def program_of(pod: dict[str, Any]) -> tuple[str, str]:
    """The component, and what its pods run: a Deployment's pods one program, another after an upgrade changed them."""
    labels = pod["metadata"]["labels"]
    component = labels["app.kubernetes.io/component"]
    return component, component + labels.get("pod-template-hash", "")


class StandIn:
    """Runs what the chart's pods would run, once each."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane, self.folder, self.port = plane, folder, free_port()
        self.said: list[str] = []
        self.played: set[str] = set()  # "component" + template hash of what runs, or has run to its end
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> StandIn:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _play(self) -> None:
        while not self._stop.wait(0.3):
            with contextlib.suppress(ApiFailure, OSError):  # what is not there yet is there next time
                for pod in self.plane.pods(NAMESPACE):
                    component, program = program_of(pod)
                    play = getattr(self, f"_play_{component}", None)
                    is_here = pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]
                    if play and program not in self.played and is_here:
                        play(pod)
                        self.played.add(program)
                        break  # that took seconds: what is there now?

    def wait_for_planner(self) -> None:
        """Until the planner that an upgrade asked for is ready."""
        self.plane.kubectl("--namespace", NAMESPACE, "rollout", "status", "deployment/stowage-planner")

        def plays_newest() -> bool:
            pods = [pod for pod in self.plane.pods(NAMESPACE) if "deletionTimestamp" not in pod["metadata"]]
            return {program for component, program in map(program_of, pods) if component == "planner"} <= self.played

        wait_for("the upgraded planner is ready", plays_newest)

    def _account(self, pod: dict[str, Any]) -> Path:
        return self.plane.kubeconfig_for_service_account(NAMESPACE, pod["spec"]["serviceAccountName"])

    def _play_scheduler(self, pod: dict[str, Any]) -> None:
        config = self.plane.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/stowage-scheduler")["data"]
        account = self._account(pod)
        settings = json.loads(config["extender.json"]) | {"host": "127.0.0.1", "port": self.port}
        (self.folder / "extender.json").write_text(json.dumps(settings | {"kubeconfig": str(account)}))
        self.plane.run(
            "extender",
            [sys.executable, ROOT / "stowage.py", "serve", "--config", self.folder / "extender.json"],
            lambda: is_healthy(f"http://127.0.0.1:{self.port}/readyz"),
            timeout_s=180,
        )
        written = self.folder / "scheduler.yaml"
        written.write_text(config["scheduler.yaml"].replace("127.0.0.1:8787", f"127.0.0.1:{self.port}"))
        self.plane.start_scheduler("stowage", written, kubeconfig=account)

    def _play_planner(self, pod: dict[str, Any]) -> None:
        if "planner" in self.plane.component:
            self.plane.end_program("planner")
        config = self.plane.client.get(f"/api/v1/namespaces/{NAMESPACE}/configmaps/stowage-planner")["data"]
        settings = json.loads(config["planner.json"])
        for key in ("journal", "host", "port"):
            del settings[key]
        PlannerProcess(self.plane, **settings | {"kubeconfig": str(self._account(pod))})

    def _play_test(self, pod: dict[str, Any]) -> None:
        command = pod["spec"]["containers"][0]["command"]
        environment = {**os.environ, "NODE_NAME": pod["spec"]["nodeName"]}
        arguments = [sys.executable, *command[1:3], "127.0.0.1", str(self.port)]
        done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
        self.said.append(done.stdout + done.stderr)
        phase = "Failed" if done.returncode else "Succeeded"
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/status"
        self.plane.client.patch(path, {"status": {"phase": phase}}, "strategic")


@pytest.fixture
def stand_in(control_plane: ControlPlane, tmp_path: Path) -> Iterator[StandIn]:
    """A cluster with room for the chart's own pods only, and somebody who plays the kubelets."""
    drop_definition(control_plane)
    control_plane.add_nodes(2, prefix="system", cpu="900m")
    control_plane.start_scheduler()
    with StandIn(control_plane, tmp_path) as playing:
        yield playing
    for name in ("planner", "stowage", "extender"):
        if name in control_plane.component:
            control_plane.end_program(name)
    for name in (NAMESPACE, "shop"):
        with contextlib.suppress(ApiFailure):
            control_plane.client.delete(f"/api/v1/namespaces/{name}")


def test_every_command_of_the_section_runs(control_plane: ControlPlane, stand_in: StandIn, tmp_path: Path) -> None:
    found = commands()
    assert len(found) >= 10
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("helm", "kubectl"):
        (programs / name).symlink_to(control_plane.programs[name])
    (programs / "stowage").write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "stowage.py"} "$@"\n')
    (programs / "stowage").chmod(0o755)
    (tmp_path / "helm").symlink_to(ROOT / "helm")
    environment = {
        **os.environ, "KUBECONFIG": str(control_plane.kubeconfig), "PATH": f"{programs}:{os.environ['PATH']}",
        "HELM_CACHE_HOME": str(tmp_path), "HELM_CONFIG_HOME": str(tmp_path), "HELM_DATA_HOME": str(tmp_path),
    }  # fmt: skip
    client = control_plane.client
    for command in found:
        if command == "kubectl get plans":  # by now there is a fragmented namespace, and a proposal for it
            fragment(control_plane, control_plane.make_namespace("shop"))
            wait_for("a proposal", lambda: plans_of(client), 90)
        if command.startswith("helm uninstall"):
            assert len(running(client, "shop", "wide")) >= 2
            clean_up(Api.connect(control_plane.kubeconfig))  # what the hook does, which kwok only says it did
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        if command.startswith("helm upgrade"):
            stand_in.wait_for_planner()
        if command.startswith("stowage plan show"):
            assert "move" in done.stdout
            assert not running(client, "shop", "wide")  # observed, not done
        if "planner.namespaces.shop" in command:
            # The budget lets two small pods go at a time, and a moved pod rests: room for a third takes longer.
            wait_for("two wide pods run", lambda: len(running(client, "shop", "wide")) >= 2, 90)
    assert "is accepted" in stand_in.said[0]
