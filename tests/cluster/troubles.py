"""Troubles of our programs with the API server and with the time: cut and frozen connections, a clock that jumps."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHUNK = 1 << 16
LOOK_S = 0.05

JUMPING = """
import pathlib, runpy, sys, time
now, ahead = time.time, pathlib.Path(sys.argv[1])
def jumped():
    try:
        return now() + float(ahead.read_text())
    except (OSError, ValueError):
        return now()
time.time = jumped
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Clock:
    """The wall clock of one of our programs; the monotonic one goes on as it does when a machine's date is set."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock-is-ahead-by"
        launcher = folder / "with_its_own_clock.py"
        launcher.write_text(JUMPING)
        self.program: Sequence[str | Path] = (sys.executable, launcher, self._file, ROOT / "stowage.py")
        self.jump(0)

    def jump(self, seconds: float) -> None:
        """Set the clock this far ahead of the real one, or behind."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(seconds))
        os.replace(fresh, self._file)


class Wire:
    """Carries every connection from its own port to another on this machine, until it is cut or frozen.

    A cut ends all connections and refuses new ones. A frozen wire carries nothing and ends nothing: what a firewall
    that forgot its connections does.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._moves = threading.Event()
        self._moves.set()
        self._is_cut = self._is_over = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []

    def __enter__(self) -> Wire:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._server.close()
        self.cut()
        self._moves.set()

    def cut(self) -> None:
        """End every connection; new ones end at once, until `mend`."""
        self._is_cut = True
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def freeze(self) -> None:
        """Carry nothing any more, in silence."""
        self._moves.clear()

    def mend(self) -> None:
        """Carry on."""
        self._is_cut = False
        self._moves.set()

    def _accept(self) -> None:
        while not self._is_over:
            with suppress(OSError):
                near, _ = self._server.accept()
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._pairs.append((near, far))
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with near, far, suppress(OSError, ValueError):
            while not self._is_over:
                self._moves.wait()
                for end in select.select([near, far], [], [], LOOK_S)[0]:
                    data = end.recv(CHUNK)
                    if not data:
                        return
                    self._moves.wait()
                    other[end].sendall(data)
