"""A real Kubernetes control plane on 127.0.0.1, for tests and for experiments by hand.

In a test, ask for fixtures; the first that needs it starts the control plane, in about five seconds, once per run.
Under tests/cluster they are there already; elsewhere a conftest.py says `from tests.cluster.fixtures import *`.

    def test_pods_are_bound(control_plane, namespace):
        control_plane.add_nodes(100, cpu=16, memory="64Gi", gpus=8, zones=("a", "b"), prefix="gpu")
        control_plane.start_scheduler("stowage", config)          # a KubeSchedulerConfiguration: dict or path
        pods = [a_pod(f"p{i}", namespace, gpus=1, scheduler="stowage") for i in range(50)]
        control_plane.client.create_all(pods)
        node_by_pod = control_plane.wait_until_bound(namespace, 50, timeout_s=20)

`cluster` is the control plane, or the user's own cluster where STOWAGE_TEST_KUBECONFIG names a kubeconfig: use it where
nothing is stopped or killed. `control_plane` is always our own. `own_control_plane` starts one for this test alone.
`namespace` is a fresh namespace, deleted afterwards. After a test the nodes it made are deleted, the programs it
started are ended, and the components it stopped run again.

No scheduler runs until a test starts one: `start_scheduler()` is the stock one (default-scheduler).

    .client                    api_client.ApiClient as cluster admin: get, items, post, patch, delete, watch, create,
                               create_all, evict; `api_client.wait_for` waits for anything
    objects                    (module) a_node, a_pod, a_deployment, a_budget, a_priority_class
    .kubeconfig                path, cluster admin
    .kubeconfig_for_user(name, groups)          client certificate
    .kubeconfig_through(port)  the same through another port
    .kubeconfig_for_service_account(ns, name)   real token: it may do what RBAC grants the account
    .kubectl(*words), .helm(*words)             stdout; kubeconfig= as another; CommandFailed with stderr
    .certificates              a CA: `.server(name, hosts)`, `.client(user)` give certificate and key files
    .component["kube-apiserver"]                kill stop pause resume restart start log_tail pid; also etcd,
                               kube-controller-manager, kwok, and what `run` and `start_scheduler` started, by name
    .run(name, command, is_ready)               any other program (stowage serve ...), under the same care
    .add_nodes, .pods, .nodes_of_pods, .wait_until_bound, .wait_until_running, .wait_until_refused
    .compact_etcd()            etcd forgets old revisions: its docstring says when a watch gets 410
    .forget_node(name)         kwok leaves the node alone and Ready becomes what you say; .remember_node undoes it

By hand: `python -m tests.cluster up --nodes 100` prints a KUBECONFIG; `python -m tests.cluster down`.

As in production: RBAC and Node authorization, default admission (Pod Security included), ServiceAccount tokens,
garbage collection, PodDisruptionBudgets, Deployments. Not so: kwok plays the kubelets, so a bound pod runs at once and
nothing is executed (annotations that slow it down are in kwok_stages.yaml); new nodes are Ready at once; a kubelet's
silence is noticed after 800 s, not 50; etcd does not sync to disk; the controller manager may make 500 calls a second.
The programs come from `make cluster-tools` (`tests/cluster/binaries.py`).
"""

from __future__ import annotations

import functools
import json
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tests.cluster import binaries
from tests.cluster.api_client import ApiClient, ApiFailure, Json, TimedOut, wait_for, write_kubeconfig
from tests.cluster.certificates import CertificateAuthority, new_key
from tests.cluster.component import Component, free_port
from tests.cluster.objects import ADDRESS, KWOK_ANNOTATION, a_node, node_condition

ISSUER = "https://kubernetes.default.svc.cluster.local"
SERVICE_RANGE = "10.96.0.0/16"
# kwok's nodes say every five minutes that they live (kwok_stages.yaml), not every 10 s, which for thousands of nodes
# would be most of what these two cores do.
SILENCE_S = 800
STAGES = Path(__file__).parent / "kwok_stages.yaml"


class CommandFailed(Exception):
    """kubectl or helm ended with an error; the message is its stderr."""


class Cluster:
    """Any cluster, through a kubeconfig with the rights of an administrator."""

    def __init__(self, kubeconfig: Path, programs: Mapping[str, Path], folder: Path) -> None:
        self.kubeconfig, self.programs, self.folder = kubeconfig, programs, folder
        self.client = ApiClient(kubeconfig)
        self.component: dict[str, Component] = {}

    # Commands.

    def kubectl(self, *words: str | Path, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl and return its stdout. Raises CommandFailed."""
        return self._command("kubectl", words, stdin, kubeconfig)

    def helm(self, *words: str | Path, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run helm and return its stdout. Raises CommandFailed."""
        return self._command("helm", words, stdin, kubeconfig)

    def _command(self, program: str, words: Sequence[str | Path], stdin: str | None, kubeconfig: Path | None) -> str:
        home = str(self.folder)
        environment = {"KUBECONFIG": str(kubeconfig or self.kubeconfig), "HOME": home, "PATH": "/usr/bin:/bin"}
        environment |= {f"HELM_{kind}_HOME": f"{home}/helm/{kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")}
        command = [str(self.programs[program]), *map(str, words)]
        done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise CommandFailed(f"{program} {' '.join(command[1:])}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    # Identities.

    def kubeconfig_for_service_account(self, namespace: str, name: str, lifetime_s: int = 3600) -> Path:
        """A kubeconfig with a fresh token of an existing ServiceAccount."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.client.post(path, {"spec": {"expirationSeconds": lifetime_s}})
        return self._write_kubeconfig(f"sa-{namespace}-{name}", {"token": answer["status"]["token"]})

    def _write_kubeconfig(self, name: str, user: Json) -> Path:
        settings = yaml.safe_load(self.kubeconfig.read_text())
        settings["users"] = [{"name": "user", "user": user}]
        for context in settings["contexts"]:
            context["context"]["user"] = "user"
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(settings))
        return path

    # Nodes and pods.

    def add_nodes(
        self, count: int, *, prefix: str = "node", zones: Sequence[str] = (), wait: bool = True, **node: Any
    ) -> list[str]:
        """Make nodes PREFIX-0000 and on, zones in turn, and return their names, ready to be used.

        node: what `objects.a_node` takes (cpu, memory, gpus, pods, labels, annotations, taints, resources).
        """
        names = [f"{prefix}-{number:04}" for number in range(count)]
        zone_of = {name: zones[i % len(zones)] for i, name in enumerate(names) if zones}
        self.client.create_all(a_node(name, zone=zone_of.get(name), **node) for name in names)
        if wait:
            self.wait_until_nodes_ready(names)
        return names

    def wait_until_nodes_ready(self, names: Sequence[str], timeout_s: float = 120) -> None:
        """Return when all are Ready and free of the taint that keeps pods off new nodes."""

        def all_ready() -> bool:
            ready = {n["metadata"]["name"] for n in self.client.items("/api/v1/nodes") if is_node_usable(n)}
            return ready.issuperset(names)

        wait_for(f"{len(names)} nodes ready", all_ready, timeout_s)

    def forget_node(self, name: str, ready: str = "False") -> None:
        """Make kwok leave the node alone and set its Ready condition: "False", "Unknown", or "True".

        The node lifecycle controller then taints it as it would a real one. `remember_node` undoes it.
        """
        self.client.patch(f"/api/v1/nodes/{name}", {"metadata": {"annotations": {KWOK_ANNOTATION: None}}})
        condition = node_condition("Ready", ready, "Test")
        self.client.patch(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}}, "strategic")

    def remember_node(self, name: str) -> None:
        """Give the node back to kwok, which makes it Ready again."""
        self.client.patch(f"/api/v1/nodes/{name}", {"metadata": {"annotations": {KWOK_ANNOTATION: "fake"}}})

    def make_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> str:
        """Make a namespace, wait until controllers have put into it what they put into each, and return its name."""
        self.client.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}
        )
        for what in ("serviceaccounts", "configmaps"):  # default, which pods need, and kube-root-ca.crt
            path = f"/api/v1/namespaces/{name}/{what}"
            wait_for(f"the {what} of {name}", functools.partial(self.client.items, path))
        return name

    def pods(self, namespace: str | None = None, **params: str) -> list[Json]:
        """The pods of a namespace, or all."""
        where = f"/namespaces/{namespace}" if namespace else ""
        return self.client.items(f"/api/v1{where}/pods", **params)

    def nodes_of_pods(self, namespace: str) -> dict[str, str]:
        """Node by name of each bound pod of the namespace."""
        return {p["metadata"]["name"]: p["spec"]["nodeName"] for p in self.pods(namespace) if p["spec"].get("nodeName")}

    def wait_until_bound(self, namespace: str, count: int, timeout_s: float = 120) -> dict[str, str]:
        """Return node by pod name when at least `count` pods of the namespace are bound. Raises TimedOut."""
        enough: dict[str, str] = wait_for(
            f"{count} pods bound in {namespace}",
            lambda: found if len(found := self.nodes_of_pods(namespace)) >= count else None,
            timeout_s,
        )
        return enough

    def wait_until_running(self, namespace: str, count: int, timeout_s: float = 120) -> list[Json]:
        """Return the Running pods of the namespace when there are at least `count`. Raises TimedOut."""

        def running() -> list[Json] | None:
            found = [p for p in self.pods(namespace) if p["status"].get("phase") == "Running"]
            return found if len(found) >= count else None

        try:
            enough: list[Json] = wait_for(f"{count} pods running in {namespace}", running, timeout_s)
        except TimedOut as error:
            seen = [
                (p["metadata"]["name"], p["spec"].get("nodeName"), p["status"].get("conditions", [{}])[-1])
                for p in self.pods(namespace)
            ]
            raise TimedOut(f"{error}; {seen}") from error
        return enough

    def wait_until_refused(self, namespace: str, name: str, timeout_s: float = 120) -> str:
        """Return the scheduler's message when it says the pod is Unschedulable. Raises TimedOut."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        message: str = wait_for(f"{name} unschedulable", lambda: refusal(self.client.get(path)), timeout_s)
        return message

    # Programs beside the cluster.

    def run(
        self,
        name: str,
        command: Sequence[str | Path],
        is_ready: Callable[[], bool] = lambda: True,
        timeout_s: float = 120,
    ) -> Component:
        """Start a program under the care of the fixture: log in its folder, ended with it. See `Component`."""
        component = Component(name, command, self.folder / f"{name}.log", is_ready, timeout_s)
        self.component[name] = component
        component.start()
        return component

    def start_kwok(self) -> Component:
        """Start kwok, which plays the kubelet of every node that `a_node` describes."""
        port = free_port()
        command = [
            self.programs["kwok"],
            f"--kubeconfig={self.kubeconfig}",
            f"--config={STAGES}",
            f"--manage-nodes-with-annotation-selector={KWOK_ANNOTATION}=fake",
            f"--server-address=127.0.0.1:{port}",
            f"--node-ip={ADDRESS}",
            # No Leases: where the garbage collector takes that of a deleted node while kwok renews it for a new node of
            # the same name, kwok 0.8 leaves the new node's pods alone for minutes.
            "--node-lease-duration-seconds=0",
        ]
        return self.run("kwok", command, lambda: is_healthy(f"http://127.0.0.1:{port}/healthz"))

    def start_scheduler(
        self,
        name: str = "kube-scheduler",
        config: Json | Path | None = None,
        kubeconfig: Path | None = None,
        flags: Sequence[str] = (),
    ) -> Component:
        """Start a kube-scheduler and wait until it is ready; more than one may run.

        config: a KubeSchedulerConfiguration, as in the chart; the stock one if None. Only what cannot hold outside
        a pod is set in it: the kubeconfig, and no leader election unless it says so. kubeconfig: whose rights it has;
        by default those of the user system:kube-scheduler on our own control plane.
        """
        if isinstance(config, Path):
            config = yaml.safe_load(config.read_text())
        stock = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
        settings: Json = {**(config or stock)}
        identity = str(kubeconfig or self.scheduler_kubeconfig())
        settings["clientConnection"] = {**settings.get("clientConnection", {}), "kubeconfig": identity}
        settings.setdefault("leaderElection", {"leaderElect": False})
        path = self.folder / f"{name}.config.yaml"
        path.write_text(yaml.safe_dump(settings))
        port = free_port()
        command = [
            self.programs["kube-scheduler"],
            f"--config={path}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder / name}",
            f"--authentication-kubeconfig={identity}",
            f"--authorization-kubeconfig={identity}",
            "--authentication-tolerate-lookup-failure=true",
            *flags,
        ]
        return self.run(name, command, lambda: is_healthy(f"https://127.0.0.1:{port}/readyz"))

    def scheduler_kubeconfig(self) -> Path:
        """Whose rights schedulers have unless they are given others."""
        return self.kubeconfig

    def end_program(self, name: str) -> None:
        """Stop a program started by `run` or `start_scheduler`, and forget it."""
        self.component.pop(name).stop()

    def stop(self) -> None:
        """End every program, last started first."""
        for name in reversed(list(self.component)):
            self.component.pop(name).stop()


class ControlPlane(Cluster):
    """Our own etcd, kube-apiserver, kube-controller-manager and kwok, with everything they write in one folder.

    Used as a context: starts on entering, ends everything and removes the folder on leaving (keep=True keeps it).
    Raises ToolsUnavailable when the programs have not been built, ComponentError when one does not start.
    apiserver_flags, controller_flags: further flags, the last word where one repeats ours.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        apiserver_flags: Sequence[str] = (),
        controller_flags: Sequence[str] = (),
        keep: bool = False,
    ) -> None:
        programs = binaries.find()
        self._keep = keep
        folder = folder or Path(tempfile.mkdtemp(prefix="stowage-cluster-"))
        self.certificates = CertificateAuthority(folder / "certificates")
        self.port, self.etcd_port = free_port(), free_port()
        self.server = f"https://127.0.0.1:{self.port}"
        self._flags = {"kube-apiserver": apiserver_flags, "kube-controller-manager": controller_flags}
        self.folder = folder
        admin = self.kubeconfig_for_user("stowage-test-admin", ["system:masters"])
        super().__init__(admin, programs, folder)

    def __enter__(self) -> ControlPlane:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start the four programs, each when the one it needs is ready."""
        self._start_etcd()
        self._start_apiserver()
        self._start_controller_manager()
        self.start_kwok()

    def kubeconfig_for_user(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig with a client certificate for this user in these groups."""
        certificate, key = self.certificates.client(user, groups)
        path = self.folder / f"{certificate.stem}.kubeconfig"
        identity = {"client-certificate": str(certificate), "client-key": str(key)}
        return write_kubeconfig(path, self.server, self.certificates.certificate_file, identity)

    def kubeconfig_through(self, port: int) -> Path:
        """The admin's kubeconfig with another port of this machine, such as a `troubles.Wire`'s, for the server's."""
        path = self.folder / f"through-{port}.kubeconfig"
        path.write_text(self.kubeconfig.read_text().replace(self.server, f"https://127.0.0.1:{port}"))
        return path

    def scheduler_kubeconfig(self) -> Path:
        return self.kubeconfig_for_user("system:kube-scheduler")

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self.etcd_port}", f"http://127.0.0.1:{free_port()}"
        command = [
            self.programs["etcd"],
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--quota-backend-bytes=8589934592",
        ]
        self.run("etcd", command, lambda: is_healthy(f"{client}/health"))

    def _start_apiserver(self) -> None:
        certificate, key = self.certificates.server(
            "kube-apiserver", ("127.0.0.1", "localhost", "kubernetes.default.svc", "10.96.0.1")
        )
        signing_key = new_key(self.certificates.folder / "service-accounts.key")
        command = [
            self.programs["kube-apiserver"],
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={certificate}",
            f"--tls-private-key-file={key}",
            f"--client-ca-file={self.certificates.certificate_file}",
            f"--requestheader-client-ca-file={self.certificates.certificate_file}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--service-account-key-file={signing_key}",
            f"--service-account-signing-key-file={signing_key}",
            f"--service-account-issuer={ISSUER}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--endpoint-reconciler-type=none",  # it refuses to publish a loopback address
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            # New nodes are born Ready here and need no taint until the controller manager has seen that, 50 a second.
            "--disable-admission-plugins=TaintNodesByCondition",
            "--allow-privileged=true",
            "--max-requests-inflight=2000",
            "--max-mutating-requests-inflight=1000",
            "--shutdown-delay-duration=0s",
            *self._flags["kube-apiserver"],
        ]
        self.run("kube-apiserver", command, self._is_apiserver_ready, timeout_s=240)

    def _is_apiserver_ready(self) -> bool:
        with suppress(ApiFailure):
            return self.client.request("GET", "/readyz").get("message") == "ok"
        return False

    def _start_controller_manager(self) -> None:
        identity = self.kubeconfig_for_user("system:kube-controller-manager")
        port = free_port()
        command = [
            self.programs["kube-controller-manager"],
            f"--kubeconfig={identity}",
            f"--authentication-kubeconfig={identity}",
            f"--authorization-kubeconfig={identity}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder / 'kube-controller-manager'}",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.certificates.folder / 'service-accounts.key'}",
            f"--root-ca-file={self.certificates.certificate_file}",
            "--leader-elect=false",
            f"--node-monitor-grace-period={SILENCE_S}s",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            *self._flags["kube-controller-manager"],
        ]
        self.run("kube-controller-manager", command, lambda: is_healthy(f"https://127.0.0.1:{port}/healthz"))

    def compact_etcd(self) -> int:
        """Make etcd forget all revisions before the present one, and return the present one.

        The API server answers most watches and lists from its own memory of recent events, so a client notices only
        when the server asks etcd, or has just been restarted: after `compact_etcd()` and
        `component["kube-apiserver"].restart()` a watch from an older resourceVersion gets 410.
        """
        url = f"http://127.0.0.1:{self.etcd_port}/v3/kv"
        revision = int(post_json(f"{url}/range", {"key": "AA=="})["header"]["revision"])
        post_json(f"{url}/compaction", {"revision": str(revision), "physical": True})
        return revision


def is_healthy(url: str) -> bool:
    """Whether GET answers 200. The certificate is not checked: these programs make their own and get no secrets."""
    try:
        with urllib.request.urlopen(url, timeout=2, context=unchecked() if url.startswith("https") else None) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False


def unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def post_json(url: str, body: Json) -> Json:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        parsed: Json = json.load(answer)
    return parsed


def is_node_usable(node: Json) -> bool:
    """Whether a node is Ready and its controller has taken the not-ready taint away."""
    is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    keys = [taint["key"] for taint in node["spec"].get("taints", [])]
    return is_ready and "node.kubernetes.io/not-ready" not in keys


def refusal(pod: Json) -> str | None:
    """Why the scheduler says the pod cannot be placed now; None if it does not say so."""
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return str(condition.get("message", ""))
    return None
