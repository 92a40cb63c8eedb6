#!/usr/bin/env bash
# Collect the wheels our image needs into build/wheels, so that building it needs no network.
# usage: hack/wheels.sh VENV [PYTHON-VERSION-OF-THE-IMAGE]
set -euo pipefail
venv=${1:-.venv}
version=${2:-3.11}
mkdir -p build/wheels
requirements=$("$venv/bin/python" -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))')
tags=()
for tag in manylinux_2_28 manylinux_2_17 manylinux2014 manylinux_2_5 manylinux1; do tags+=(--platform "${tag}_$(uname -m)"); done
echo "collecting wheels for Python $version"
if ! echo "$requirements" | "$venv/bin/python" -m pip download --quiet --disable-pip-version-check --only-binary=:all: \
    --python-version "$version" --implementation cp "${tags[@]}" -d build/wheels -r /dev/stdin setuptools wheel 2>build/wheels.log; then
    # A package without a wheel (etcd3 is one) is built here instead; our own interpreter must then match the image's.
    echo "$requirements" | "$venv/bin/python" -m pip wheel --quiet --disable-pip-version-check -w build/wheels -r /dev/stdin setuptools wheel
fi
