#!/usr/bin/env bash
# Makes certificates for a Dask cluster: make_ca.sh FOLDER NAME...
# FOLDER/ca.pem is made once, and NAME.pem with NAME.key for each scheduler, worker and user.
# Keep ca.key away from the cluster: anyone who has it can admit anyone.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 FOLDER NAME..." >&2; exit 2; }
folder=$1
shift
umask 077
mkdir -p "$folder"
cd "$folder"
if [ ! -e ca.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=djservice cluster" -keyout ca.key -out ca.pem 2>/dev/null
fi
# Certificates are for servers and clients, because runs on the scheduler are its clients.
usage='extendedKeyUsage=serverAuth,clientAuth'
for name in "$@"; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" \
        -keyout "$name.key" -out "$name.csr" 2>/dev/null
    openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 \
        -out "$name.pem" 2>/dev/null \
        -extfile <(printf '%s\nsubjectAltName=DNS:%s\n' "$usage" "$name")
    rm "$name.csr"
done
