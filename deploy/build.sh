#!/bin/sh
# Builds an image with the container engine that works here: BASE=IMAGE build.sh NAME RECIPE CONTEXT [OPTION OF build...].
set -eu
fail() {
    echo "make image: $1" >&2
    exit 1
}
name=$1 recipe=$2 context=$3
shift 3

why=
for engine in ${ENGINE:-podman docker buildah}; do
    if said=$("$engine" info 2>&1 > /dev/null); then break; fi
    why="$why$engine: $(echo "$said" | tail -n 1); "
    engine=
done
[ -n "$engine" ] || fail "no container engine works (${why%; }). Install podman, or start Docker and join its group. Where users have no \
namespaces (sysctl user.max_user_namespaces), build as root"
if [ "$(id -u)" != 0 ] && [ "$engine" = podman ] && [ "$(podman unshare cat /proc/self/uid_map | wc -l)" = 1 ]; then
    fail "$(id -un) has one user id for containers. As root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
fi
if [ "$BASE" != scratch ] && [ -z "$("$engine" images -q "$BASE" 2> /dev/null)" ] && ! said=$("$engine" pull "$BASE" 2>&1); then
    # The recipes with a suffix start from the project's own image.
    case "$recipe" in
        *Dockerfile.*) how="make it first: make image" ;;
        *) how="make one without a registry: make base-image" ;;
    esac
    fail "$engine cannot pull the base $BASE: $(echo "$said" | tail -n 1). Name another with BASE=..., or $how"
fi
# Of podman and buildah: images of OCI's format have no health check.
export BUILDAH_FORMAT=docker
"$engine" build "$@" --build-arg BASE="$BASE" --tag "$name" --file "$recipe" "$context"
"$engine" images "$name"
