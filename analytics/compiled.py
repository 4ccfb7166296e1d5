"""Where compiled code is kept: a cache folder per version of the sources.

numba decides by a file's own date whether its machine code is still true, but a compiled loop carries in it the code of
every function it calls, from other files. After an update of one file the loop would go on with the old code of that
file and say nothing. So the folder's name holds a checksum of all our sources that hold compiled code.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

KEPT = 8  # folders of other versions that stay, newest first

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("analytics", "scheduler", "traces")
COMPILED = (b"numba", b"score_function", b"compile")  # one of these stands in every file that is compiled


def use_own_cache() -> None:
    """Point numba at the folder of these sources, unless NUMBA_CACHE_DIR says otherwise. Call before numba is imported.

    Where no folder can be made (a read-only home) numba decides for itself.
    """
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stowage"
    folder = base / f"numba-{_checksum()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        others = sorted(base.glob("numba-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    except OSError:
        return
    for outdated in others[KEPT + 1 :]:
        shutil.rmtree(outdated, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


def _checksum() -> str:
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_bytes()
            if any(word in text for word in COMPILED):
                digest.update(f"{path.relative_to(ROOT)} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:16]
