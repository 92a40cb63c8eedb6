#!/bin/sh
# A stand-in for nvidia-smi on simulated cards: prints those that this container was given, as nvidia-smi would.
# It reads the list that the kubelet mounts beside it (index|uuid|name|MiB|bus id|driver) and needs nothing but a shell.
cards=${MINIKUBE_PY_GPUS:-/usr/local/nvidia/mock/gpus}
number=0

each() { # calls "$1 index uuid name memory bus driver" for every visible card, in the order of NVIDIA_VISIBLE_DEVICES
    case ${NVIDIA_VISIBLE_DEVICES-all} in
    void | none | "") return ;;
    esac
    rest=${NVIDIA_VISIBLE_DEVICES-all},
    while [ -n "$rest" ]; do
        wanted=${rest%%,*} rest=${rest#*,}
        while IFS='|' read -r index uuid name memory bus driver; do
            if [ "$wanted" = all ] || [ "$wanted" = "$uuid" ] || [ "$wanted" = "$index" ]; then
                "$1" "$number" "$uuid" "$name" "$memory" "$bus" "$driver"
                number=$((number + 1))
            fi
        done <"$cards"
    done
}

listed() { echo "GPU $1: $3 (UUID: $2)"; }

row() {
    printf '| %3s  %-40s %20s |\n' "$1" "$3" "$5"
    printf '|      %-40s %16s MiB |\n' "$2" "$4"
}

queried() {
    line=
    for field in $(echo "$query" | tr ',' ' '); do
        case $field in
        index) value=$1 ;;
        uuid | gpu_uuid) value=$2 ;;
        name | gpu_name) value=$3 ;;
        memory.total) value="$4$mib" ;;
        pci.bus_id | gpu_bus_id) value=$5 ;;
        driver_version) value=$6 ;;
        *) value='[N/A]' ;;
        esac
        line="$line${line:+, }$value"
    done
    echo "$line"
}

if [ ! -r "$cards" ]; then
    echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver." >&2
    exit 9
fi
query='' format='' mib=' MiB' list=''
for argument in "$@"; do
    case $argument in
    -L | --list-gpus) list=1 ;;
    --query-gpu=*) query=${argument#*=} ;;
    --format=*) format=${argument#*=} ;;
    -h | --help)
        echo "nvidia-smi [-L] [--query-gpu=index,uuid,name,memory.total,pci.bus_id,driver_version --format=csv[,noheader][,nounits]]"
        exit 0
        ;;
    *)
        echo "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help." >&2
        exit 2
        ;;
    esac
done
case $format in *nounits*) mib='' ;; esac
if [ -n "$list" ]; then
    each listed
elif [ -n "$query" ]; then
    case $format in *noheader*) ;; *) echo "$query" | tr ',' ' ' | sed 's/ /, /g' ;; esac
    each queried
else
    read -r first <"$cards"
    echo "+--------------------------------------------------------------------+"
    printf '| NVIDIA-SMI %-20s %33s |\n' "${first##*|}" "simulated by minikube-py"
    echo "|--------------------------------------------------------------------|"
    each row
    echo "+--------------------------------------------------------------------+"
fi
[ "$number" -gt 0 ] || {
    echo "No devices were found"
    exit 6
}
