#!/usr/bin/env bash
# Create the virtual environment and install minikube-py and its tools into it. Called by the Makefile; safe to run again.
set -euo pipefail
venv=${1:-.venv}

python=""
for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "error: Python 3.11 or newer is needed; run: sudo apt-get install python3 python3-venv" >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing python3-venv"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
    else
        echo "error: python3-venv is missing; run: sudo apt-get install python3-venv" >&2
        exit 1
    fi
fi

[ -x "$venv/bin/python" ] || { echo "creating $venv"; "$python" -m venv "$venv"; }
echo "installing Python packages into $venv (about a minute the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e '.[dev]'
touch "$venv/.installed"
