"""The control plane's programs, built from pinned Go modules and kept outside the tree.

`tools/TOOL/go.mod` and `go.sum` fix every module and its checksum; one folder per tool, because one shared module graph
would move Kubernetes, etcd, kwok and helm to each other's versions. `make cluster-tools` builds them, about 25 CPU
minutes from nothing, into `~/.cache/stowage/cluster-tools/TOOL-CHECKSUM-GOVERSION` (XDG_CACHE_HOME is honoured). The
checksum covers the module files and the build flags, so a checkout with other versions builds its own and both stay.

Tests never build: `find` looks the programs up and raises ToolsUnavailable with what to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
KUBERNETES_PACKAGES = "k8s.io/kubernetes/cmd"
PROGRAMS = {
    "kube": ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"),
    "etcd": ("etcd",),
    "kwok": ("kwok",),
    "helm": ("helm",),
}
PACKAGES = {
    **{name: f"{KUBERNETES_PACKAGES}/{name}" for name in PROGRAMS["kube"]},
    "etcd": "go.etcd.io/etcd/server/v3",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
    "helm": "helm.sh/helm/v4/cmd/helm",
}


class ToolsUnavailable(Exception):
    """The programs are not there and cannot be made; the message says why and what to do."""


def cache_root() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stowage" / "cluster-tools"


def kubernetes_version() -> str:
    """The version of Kubernetes that tools/kube pins, with the v."""
    match = re.search(r"k8s\.io/kubernetes (v\S+)", (HERE / "tools/kube/go.mod").read_text())
    assert match, "tools/kube/go.mod does not name k8s.io/kubernetes"
    return match.group(1)


def link_flags(tool: str) -> str:
    """What the linker is told: no debug tables, and the version, which the source leaves to whoever builds it."""
    if tool != "kube":
        return "-s -w"
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    package = "k8s.io/component-base/version"
    stamps = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    return "-s -w " + " ".join(f"-X {package}.{name}={value}" for name, value in stamps.items())


def checksum(tool: str) -> str:
    digest = hashlib.sha256(link_flags(tool).encode())
    for name in ("go.mod", "go.sum"):
        digest.update((HERE / "tools" / tool / name).read_bytes())
    return digest.hexdigest()[:16]


def go_version() -> str | None:
    """Like go1.26.8; None without Go on the PATH."""
    if shutil.which("go") is None:
        return None
    answer = subprocess.run(
        ["go", "env", "GOVERSION"], capture_output=True, text=True, env=go_environment(), cwd=HERE / "tools/etcd"
    )
    return answer.stdout.strip() or None


def go_environment() -> dict[str, str]:
    # The Go that is here, never one that it would download; no commit of ours stamped into others' programs.
    return {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


def folder_of(tool: str, go: str | None) -> Path | None:
    """Where the tool's programs are, None if they have not been built. Without Go, any Go's build of them will do."""
    wanted = f"{tool}-{checksum(tool)}-{go or '*'}"
    found = sorted(folder for folder in cache_root().glob(wanted) if all((folder / p).exists() for p in PROGRAMS[tool]))
    return found[-1] if found else None


def find() -> Programs:
    """Path of each program by name. Raises ToolsUnavailable if one has not been built."""
    go = go_version()
    paths = Programs()
    for tool, programs in PROGRAMS.items():
        folder = folder_of(tool, go)
        if folder is None:
            reason = (
                "`make cluster-tools` builds them" if go else "Go is not installed, which `make cluster-tools` needs"
            )
            raise ToolsUnavailable(f"no {' or '.join(programs)} of the pinned version in {cache_root()}: {reason}")
        paths.update({program: folder / program for program in programs})
    return paths


class Programs(dict[str, Path]):
    """Path by name of the program; asking for one that is not there raises ToolsUnavailable."""

    def __missing__(self, name: str) -> Path:
        raise ToolsUnavailable(f"there is no {name}: `make cluster-tools` builds it")


def find_or_on_path() -> Programs:
    """What has been built, or else what the PATH has of it."""
    with contextlib.suppress(ToolsUnavailable):
        return find()
    names = [name for tool in PROGRAMS.values() for name in tool]
    return Programs({name: Path(path) for name in names if (path := shutil.which(name))})


def build_all() -> Programs:
    """Build what is missing, say what is being done on stderr, and return the paths as `find` does.

    Raises ToolsUnavailable when Go is missing or too old, or a module neither is in Go's cache nor can be fetched.
    """
    go = go_version()
    if go is None:
        with contextlib.suppress(ToolsUnavailable):
            return find()
        raise ToolsUnavailable("Go is not installed: the test control plane is built with Go 1.26 or newer")
    with only_builder():
        for tool in PROGRAMS:
            if folder_of(tool, go) is None:
                build(tool, cache_root() / f"{tool}-{checksum(tool)}-{go}")
    return find()


@contextlib.contextmanager
def only_builder() -> Iterator[None]:
    """Hold the cache's lock: two checkouts building at once would take twice as long and the memory of both."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with open(cache_root() / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build of the cluster tools")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(tool: str, destination: Path) -> None:
    """Build one tool's programs beside the destination, then rename: a build that was stopped leaves no half."""
    with tempfile.TemporaryDirectory(prefix=f".{tool}-", dir=cache_root()) as partial:
        for program in PROGRAMS[tool]:
            say(f"building {program} ({PACKAGES[program]}); from nothing this takes minutes")
            started = time.monotonic()
            output = f"{partial}/{tool}/{program}"
            command = ["go", "build", "-ldflags", link_flags(tool), "-o", output, PACKAGES[program]]
            done = subprocess.run(
                command, cwd=HERE / "tools" / tool, env=go_environment(), stderr=subprocess.PIPE, text=True
            )
            if done.returncode != 0:
                last = "\n  ".join(done.stderr.strip().splitlines()[-5:])
                raise ToolsUnavailable(
                    f"go could not build {program}; it needs the Go module proxy (GOPROXY) or its cache:\n  {last}"
                )
            say(f"built {program} in {time.monotonic() - started:.0f} s")
        os.rename(f"{partial}/{tool}", destination)


def say(text: str) -> None:
    print(f"cluster-tools: {text}", file=sys.stderr, flush=True)


def main() -> int:
    try:
        paths = build_all()
    except ToolsUnavailable as problem:
        say(str(problem))
        return 1
    say(f"{len(paths)} programs ready in {cache_root()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
