#!/bin/sh
# Makes .venv with hepswitch (editable), its dependencies and its development tools. Called by `make build`.
# On Debian and Ubuntu, as root or with password-less sudo, it installs python3-venv and python3-dev when they are missing.
set -eu

python=${PYTHON:-python3}

say() { echo "$*" >&2; }

if ! command -v "$python" >/dev/null; then
    say "$python is not there: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "$("$python" --version) is too old: hepswitch needs 3.11 or newer; name one: make PYTHON=python3.12"
    exit 1
fi

missing() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || echo python3-dev
    command -v "${CC:-cc}" >/dev/null || echo gcc
}

need=$(missing | tr '\n' ' ')
if [ -n "$need" ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo='sudo -n'
    if command -v apt-get >/dev/null && { [ -z "$sudo" ] || $sudo true 2>/dev/null; }; then
        say "installing $need…"
        $sudo apt-get update -qq
        # shellcheck disable=SC2086 # words are wanted
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $need >/dev/null
    fi
    need=$(missing | tr '\n' ' ')
    if [ -n "$need" ]; then
        say "missing for $("$python" --version): $need"
        say "install it, on Debian and Ubuntu with: sudo apt-get install $need"
        exit 1
    fi
fi

echo 'making .venv …'
[ -x .venv/bin/python ] && .venv/bin/python -c 'import pip' 2>/dev/null || "$python" -m venv --clear .venv
pip='.venv/bin/python -m pip --quiet --disable-pip-version-check'
$pip install --upgrade 'pip>=25.1'   # the first that reads dependency groups
$pip install --group dev
$pip install --no-build-isolation --editable '.[all]'
touch .venv/.installed
