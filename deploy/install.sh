#!/bin/sh
# Installs into /opt/penstock: the dependencies of the extras named, or, with --ours, Penstock itself.
set -eu

install() {
    uv pip install --no-cache --python /opt/penstock/bin/python \
        --constraints constraints.txt --build-constraints constraints.txt "$@"
}

if [ "$1" = --ours ]; then
    install --no-deps .
    exit
fi
for extra in "$@"; do
    set -- "$@" --extra "$extra"
    shift
done
install --requirements pyproject.toml "$@"
