#!/bin/sh
# A base for deploy/Dockerfile without a registry: base.sh NAME, as root, with debootstrap from a mirror of Debian.
set -eu
command -v debootstrap > /dev/null || {
    echo "make base-image: needs debootstrap. Install it: apt-get install debootstrap" >&2
    exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/root" > "$folder/log" || {
    tail -n 1 "$folder/log" >&2
    exit 1
}
# As in images that are called slim: licences stay.
find "$folder/root/usr/share/doc" ! -type d ! -name copyright -delete
rm -rf "$folder"/root/var/cache/apt/* "$folder"/root/var/lib/apt/lists/* "$folder"/root/usr/share/man "$folder"/root/usr/share/info \
    "$folder"/root/usr/share/locale
ln -s python3 "$folder/root/usr/bin/python"
tar -C "$folder/root" -cf "$folder/base.tar" .
{
    echo 'FROM scratch'
    echo 'ADD base.tar /'
    echo 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
} > "$folder/Dockerfile"
rm -rf "$folder/root"
BASE=scratch "$(dirname "$0")/build.sh" "$1" "$folder/Dockerfile" "$folder"
