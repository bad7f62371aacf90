#!/usr/bin/env bash
# Starts and stops the cluster around the run in djservice.dag:
#     cluster.sh start FOLDER WORKERS
#     cluster.sh stop FOLDER RETURN
set -euo pipefail
case $1 in
start)
    cd "$2"
    rm -f scheduler.json
    condor_submit -terse folder="$PWD" scheduler.sub | cut -d. -f1 | head -n 1 > cluster.ids
    condor_submit -terse folder="$PWD" workers="$3" workers.sub \
        | cut -d. -f1 | head -n 1 >> cluster.ids
    ;;
stop)
    cd "$2"
    [ ! -s cluster.ids ] || xargs condor_rm < cluster.ids
    rm -f cluster.ids
    exit "$3"  # the exit code of the run is that of the node
    ;;
esac
