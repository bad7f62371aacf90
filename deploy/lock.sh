#!/bin/sh
# What the image is made of, with the hash of every file, for all versions of Python: lock.sh UV, at the root of the repository.
set -eu
lock() {
    "$uv" pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock' "$@"
}
uv=$1
# Widgets, which coffea asks for and imports in notebooks only; tzdata is for Windows.
without=
for name in ipywidgets widgetsnbextension jupyterlab-widgets ipython ipython-pygments-lexers jedi parso prompt-toolkit stack-data \
    executing asttokens pure-eval pexpect ptyprocess matplotlib-inline comm traitlets decorator colorama tzdata; do
    without="$without --no-emit-package $name"
done
# shellcheck disable=SC2086
lock $without --extra dashboard --extra report --extra s3 --extra xrootd --output-file deploy/requirements.txt pyproject.toml
printf 'hatchling\ncyclonedx-bom\n' | lock --output-file deploy/tools.txt -
