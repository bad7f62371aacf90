#!/bin/sh
# Start of a container: copies the kernels compiled in the image to a writable folder, and checks that of the state.
set -eu
data=${DJSERVICE_DATA:-/data}
# Where /tmp is shared, a folder of a known name could be another user's.
: "${NUMBA_CACHE_DIR:=$(mktemp -d)/numba}" "${WARM_NUMBA_CACHE:=/opt/numba}"
export NUMBA_CACHE_DIR
if [ -d "$WARM_NUMBA_CACHE" ] && [ ! -d "$NUMBA_CACHE_DIR" ]; then
    cp -Rp "$WARM_NUMBA_CACHE" "$NUMBA_CACHE_DIR"
fi
# Dask would say it in a traceback.
case "$*" in
    *"--state-directory"*"$data/"*)
        if ! [ -w "$data" ]; then
            echo "djservice: user $(id -u) cannot write $data. Mount a volume there, or: chown $(id -u) the folder that is mounted" >&2
            exit 1
        fi
        ;;
esac
exec "$@"
