#!/bin/sh
# install.sh BIN SET: what requirements/SET.txt names, wheels of exactly these hashes, then Comity itself, editable.
set -eu
bin=$1
set_name=$2
started=$(date +%s)
echo "installing $(grep -c '==' "requirements/$set_name.txt") packages into ${bin%/bin} …" >&2
pip() { "$bin/python" -m pip --disable-pip-version-check install --quiet --progress-bar off "$@"; }
# The set is complete and consistent, so there is nothing to resolve: --no-deps. `pip check` below says if that is untrue.
pip --require-hashes --no-deps --only-binary :all: -r "requirements/$set_name.txt"
pip --no-deps --no-build-isolation --no-index -e .
"$bin/python" -m pip --disable-pip-version-check check >/dev/null || "$bin/python" -m pip check >&2
echo "installed in $(($(date +%s) - started)) s" >&2
