#!/bin/sh
# Takes out of an environment what schedulers, workers and commands never open, a quarter of its size: slim.sh ENVIRONMENT
set -eu
# Widgets, which coffea asks for and imports in notebooks only.
"$1/bin/python" -m pip uninstall --quiet --yes ipywidgets widgetsnbextension jupyterlab_widgets ipython jedi prompt_toolkit
cd "$1"/lib/python3*/site-packages
find . -type d -name tests -prune -exec rm -r {} +
rm -r pyarrow/include pyarrow/*flight* pyarrow/*substrait*
# Of AWS: storage and how to log in. Of Bokeh: what browsers load.
find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'sts*' ! -name 'sso*' ! -name signin -exec rm -r {} +
find bokeh/server/static/js -name '*.js' ! -name '*.min.js' -delete
# Which `python -m ensurepip` brings back.
rm -r pip pip-* setuptools* pkg_resources _distutils_hack distutils-precedence.pth 2> /dev/null || :
find . -type f \( -name '*.a' -o -name '*.pyx' -o -name '*.pxd' \) -delete
