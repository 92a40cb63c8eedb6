#!/usr/bin/env bash
# Make the base image of our Dockerfile from the distribution's own packages, for machines that reach no image registry.
# usage: hack/base-image.sh NAME   then   docker build --build-arg BASE=NAME .
set -euo pipefail
name=${1:-minikube-py-base:latest}
docker image inspect "$name" >/dev/null 2>&1 && \
    docker run --rm --network none "$name" sh -ec 'for p in nft conntrack iptables haproxy etcd; do command -v $p; done' >/dev/null && exit 0

command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq debootstrap >/dev/null; }
suite=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-bookworm}" || echo bookworm)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
echo "making $name from Debian $suite (about a minute)"
debootstrap --variant=minbase --include=python3,python3-venv,nftables,conntrack,iptables,haproxy,etcd-server,ca-certificates "$suite" "$root" >/dev/null
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
tar -C "$root" -c . | docker import - "$name" >/dev/null
