#!/usr/bin/env bash
# Install the system packages the test suite and the benchmarks run against. Called by the Makefile; safe to run again.
set -euo pipefail

declare -A package=([dockerd]=docker.io [etcd]=etcd-server [nft]=nftables [conntrack]=conntrack [docker-compose]=docker-compose
                    [busybox]=busybox [kubectl]=kubernetes-client [gcc]=gcc [containerd]=containerd [haproxy]=haproxy [victoria-metrics]=victoria-metrics)
# Where the kernel enforces AppArmor, the engine starts nothing without its parser.
grep -qs Y /sys/module/apparmor/parameters/enabled && package[apparmor_parser]=apparmor
PATH=$PATH:/usr/sbin:/sbin
missing=()
for program in "${!package[@]}"; do
    [ "$program" = docker-compose ] && docker compose version >/dev/null 2>&1 && continue
    command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
[ ${#missing[@]} = 0 ] && exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: missing ${missing[*]}; run: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
apt-get update -qq
# A packaged service that cannot start here (no init system) must not fail the installation.
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
