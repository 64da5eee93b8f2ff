#!/bin/sh
# system_packages.sh python|test: what pip cannot bring. Installs it when root on Debian or Ubuntu, else says what to install.
set -eu
missing=""
case "$1" in
python)
    python=$(scripts/python.sh 2>/dev/null || true)
    [ -n "$python" ] || missing="python3"
    { [ -n "$python" ] && "$python" -c 'import ensurepip, venv' 2>/dev/null; } || missing="$missing python3-venv"
    ;;
test)
    command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
    command -v node >/dev/null 2>&1 || missing="$missing nodejs"
    command -v npm >/dev/null 2>&1 || missing="$missing npm"
    ;;
*)
    echo "usage: system_packages.sh python|test" >&2
    exit 2
    ;;
esac
missing=$(echo $missing) # one space between names, none around
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing $missing with apt-get …" >&2
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of names
    if apt-get update -qq >"$log" 2>&1 &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >>"$log" 2>&1; then
        rm -f "$log"
        exit 0
    fi
    tail -n 20 "$log" >&2
    rm -f "$log"
fi
echo "error: this machine lacks: $missing" >&2
echo "hint: apt-get install $missing" >&2
# Without a browser or npm their tests skip; without Python nothing works, and CI skips nothing.
[ "$1" = test ] && [ -z "${CI:-}" ] && exit 0
exit 1
