#!/bin/sh
# Takes out of an environment what schedulers, workers and commands never open, a third of its size: slim.sh ENVIRONMENT
set -eu
cd "$1"/lib/python3*/site-packages
find . -type d -name tests -prune -exec rm -r {} +
# Of Arrow: servers, and S3, which s3fs reads.
rm -r pyarrow/include pyarrow/*flight* pyarrow/*s3*
# Of AWS: storage and how to log in. Of Bokeh: what browsers load.
find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'sts*' ! -name 'sso*' ! -name signin -exec rm -r {} +
find bokeh/server/static/js -name '*.js' ! -name '*.min.js' -delete
find . -type f \( -name '*.a' -o -name '*.pyx' -o -name '*.px[di]' \) -delete
# Those in *.libs were changed after they were linked, which strip may not survive.
find . -name '*.so*' ! -path './*.libs/*' -exec strip --strip-unneeded {} +
