"""Where a helm is: the one in $HELM, one on the path, or that of `make cluster-tools`. Prints it, or nothing."""

from __future__ import annotations

import os
import shutil

from tests.cluster import binaries


def find_helm() -> str | None:
    """Path of a helm that can be run; None where there is none."""
    named = os.environ.get("HELM") or shutil.which("helm")
    if named:
        return named
    folder = binaries.folder_of("helm", binaries.go_version())
    return str(folder / "helm") if folder else None


if __name__ == "__main__":
    print(find_helm() or "")
