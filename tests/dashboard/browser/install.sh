#!/bin/sh
# Debian's Chromium, for the tests that look at pages: sh tests/dashboard/browser/install.sh PYTHON
set -eu
found=$("$1" -m tests.dashboard.browser.find)
if [ -n "$found" ]; then
    echo "pages are tested in $found"
elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian's chromium"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null
else
    echo "There is no Chromium. On Debian: apt-get install chromium (as root); or name yours: CHROMIUM=/path make test." >&2
    exit 1
fi
