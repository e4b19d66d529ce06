#!/usr/bin/env bash
# install.sh PREFIX - build libcoir for use and install it with its headers
# and coir.pc. DESTDIR is honoured. Its tools come from .venv, so that a
# second run as another user (sudo make install) builds nothing anew.
source "$(dirname "$0")/lib.sh"

prefix=$1
case $prefix in /*) ;; *) prefix=$PWD/$prefix ;; esac
case ${DESTDIR:=} in '' | /*) ;; *) DESTDIR=$PWD/$DESTDIR ;; esac
export DESTDIR
[ -n "$DESTDIR" ] || unset DESTDIR

tools_venv
dir=build/install
configure "$dir" -Dprefix="$prefix" -Dtests=disabled -Dbuildtype=release
meson compile -C "$dir" -j "$JOBS"
meson install -C "$dir" --no-rebuild
