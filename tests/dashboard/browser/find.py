"""Where a Chromium is that tests can drive: the one in $CHROMIUM, or one on the path. Prints it, or nothing.

Playwright's own builds are not used: they are downloads of 150 MB that no package manager checks or updates.
"""

from __future__ import annotations

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str | None:
    """Path of a browser; None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


if __name__ == "__main__":
    print(find_browser() or "")
