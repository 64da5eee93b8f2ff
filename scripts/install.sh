#!/bin/sh
# install.sh BIN SET: what requirements/SET.txt names, wheels of exactly these hashes, then Comity itself, editable.
set -eu
bin=$1
set_name=$2
started=$(date +%s)
echo "installing $(grep -c '==' "requirements/$set_name.txt") packages into ${bin%/bin} …" >&2
export PIP_DISABLE_PIP_VERSION_CHECK=1
# The set is complete and consistent, so there is nothing to resolve: --no-deps. `pip check` says if that is untrue.
"$bin/python" -m pip install -qq --progress-bar off --require-hashes --no-deps --only-binary :all: -r "requirements/$set_name.txt"
"$bin/python" -m pip install -qq --no-deps --no-build-isolation --no-index -e .
broken=$("$bin/python" -m pip check) || {
    echo "$broken" >&2
    exit 1
}
echo "installed in $(($(date +%s) - started)) s" >&2
