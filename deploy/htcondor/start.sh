#!/usr/bin/env bash
# Script of every job: start.sh scheduler | worker | run CONFIG
# The working folder is on a file system that all jobs see.
set -euo pipefail
# environment.sh may hold lines such as source /cvmfs/.../setup.sh or export X509_USER_PROXY=...
# shellcheck source=/dev/null
[ ! -e environment.sh ] || . ./environment.sh
# In a folder of a known name in /tmp could be pickles of another user.
scratch=${_CONDOR_SCRATCH_DIR:-$(mktemp -d)}
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR-$scratch/numba}
# For tls, set the certificates of docs/security.md in environment.sh.
protocol=${DJSERVICE_PROTOCOL:-tcp}
case $1 in
scheduler)
    exec dask scheduler --protocol "$protocol" --port 0 --scheduler-file scheduler.json \
        --dashboard-address 127.0.0.1:0 --preload djservice.preload --state-directory state
    ;;
worker)
    # Of the slot. Without a limit, a worker would take the memory of the slot by its share of the machine's processors.
    cpus=$(sed -n 's/^Cpus = //p' "${_CONDOR_MACHINE_AD:-/dev/null}") limit=auto
    memory=$(sed -n 's/^Memory = //p' "${_CONDOR_MACHINE_AD:-/dev/null}")
    [ -z "$memory" ] || limit=$((memory / ${cpus:-1}))MiB
    exec dask worker --protocol "$protocol" --scheduler-file scheduler.json \
        --dashboard-address 127.0.0.1:0 --nworkers "${cpus:-1}" --nthreads 1 \
        --memory-limit "$limit" --local-directory "$scratch" \
        --lifetime "${DJSERVICE_LIFETIME:-7h}" --lifetime-stagger 10m
    ;;
run)
    until [ -s scheduler.json ]; do sleep 1; done
    DJSERVICE_SCHEDULER=$(sed -n 's/.*"address": "\([^"]*\)".*/\1/p' scheduler.json | head -n 1)
    export DJSERVICE_SCHEDULER
    for _ in {1..60}; do
        djservice list > /dev/null 2>&1 && break
        sleep 1
    done
    id=$(djservice submit "$2" | tail -n 1)
    djservice watch "$id"
    ;;
*)
    echo "usage: $0 scheduler | worker | run CONFIG" >&2
    exit 2
    ;;
esac
