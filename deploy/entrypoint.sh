#!/bin/sh
# Start of a container: copies the kernels compiled in the image to a writable folder.
set -eu
# Where /tmp is shared, a folder of a known name could be another user's.
: "${NUMBA_CACHE_DIR:=$(mktemp -d)/numba}" "${WARM_NUMBA_CACHE:=/opt/numba}"
export NUMBA_CACHE_DIR
if [ -d "$WARM_NUMBA_CACHE" ] && [ ! -d "$NUMBA_CACHE_DIR" ]; then
    cp -Rp "$WARM_NUMBA_CACHE" "$NUMBA_CACHE_DIR"
fi
exec "$@"
