#!/bin/sh
# install.sh BIN SET: what requirements/SET.txt names, wheels of exactly these hashes, then Comity itself, editable.
set -eu
bin=$1
set_name=$2
started=$(date +%s)
echo "installing $(grep -c '==' "requirements/$set_name.txt") packages into ${bin%/bin} …" >&2
pip() { broken=$("$bin/python" -m pip --disable-pip-version-check check) || { echo "$broken" >&2 && exit 1; }
echo "installed in $(($(date +%s) - started)) s" >&2
