#!/bin/sh
# Prints the Python that Comity runs on: $PYTHON, else the first of 3.11 and 3.12 that this machine has.
set -eu
for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
echo "error: no Python 3.11 or 3.12 found" >&2
echo "hint: apt-get install python3 python3-venv (Debian 12), or make PYTHON=/path/to/python3.11 …" >&2
exit 1
