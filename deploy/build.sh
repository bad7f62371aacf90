#!/bin/sh
# Builds an image with the container engine that works here: BASE=IMAGE build.sh NAME RECIPE CONTEXT [OPTION OF build...].
set -eu
name=$1 recipe=$2 context=$3
shift 3

for engine in ${ENGINE:-podman docker buildah}; do
    if why=$("$engine" info 2>&1 > /dev/null); then break; fi
    engine=
done
if [ -z "$engine" ]; then
    echo "make image: no container engine works (tried ${ENGINE:-podman docker buildah}; the last said: $(echo "$why" | tail -n 1))." \
        "Install podman, or start Docker and join its group." >&2
    exit 1
fi
if [ "$BASE" != scratch ] && [ -z "$("$engine" images -q "$BASE" 2> /dev/null)" ] && ! why=$("$engine" pull "$BASE" 2>&1); then
    echo "make image: $engine cannot pull the base $BASE: $(echo "$why" | tail -n 1)" \
        "Name another with BASE=..., or make one without a registry: make base-image" >&2
    exit 1
fi
# Of podman and buildah: images of OCI's format have no health check.
export BUILDAH_FORMAT=docker
"$engine" build "$@" --build-arg BASE="$BASE" --tag "$name" --file "$recipe" "$context"
"$engine" images "$name"
