#!/bin/sh
# Start of a container: what would end in a traceback is one line, and kernels compiled in the image are copied to a writable folder.
set -eu
fail() {
    echo "djservice: $1" >&2
    exit 1
}
data=${DJSERVICE_DATA:-/data}
case "$*" in
    *"--state-directory"*"$data/"*)
        [ -w "$data" ] || fail "user $(id -u) cannot write $data. Mount a volume there, or: chown $(id -u) the folder that is mounted"
        ;;
esac
# The chart says for which version its options are.
if [ -n "${DJSERVICE_CHART_VERSION:-}" ]; then
    version=$(djservice --version)
    [ "${version##* }" = "$DJSERVICE_CHART_VERSION" ] ||
        fail "the image has version ${version##* }, the chart is for $DJSERVICE_CHART_VERSION. Set image.tag, or install the chart of that version"
fi
# Where /tmp is shared, a folder of a known name could be another user's.
: "${NUMBA_CACHE_DIR:=$(mktemp -d 2> /dev/null)/numba}" "${WARM_NUMBA_CACHE:=/opt/numba}"
[ "$NUMBA_CACHE_DIR" != /numba ] || fail "cannot write ${TMPDIR:-/tmp}. Mount a volume or a tmpfs there"
export NUMBA_CACHE_DIR
if [ -d "$WARM_NUMBA_CACHE" ] && [ ! -d "$NUMBA_CACHE_DIR" ]; then
    cp -Rp "$WARM_NUMBA_CACHE" "$NUMBA_CACHE_DIR"
fi
exec "$@"
