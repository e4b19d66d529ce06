#!/usr/bin/env bash
# dist.sh [wheel] [sdist] - put the Python package into dist/.
source "$(dirname "$0")/lib.sh"

default_venv
mkdir -p dist
for what; do
    case $what in
    wheel)
        .venv/bin/python -m pip wheel -q --no-deps --no-build-isolation \
            --no-index -w dist . ;;
    sdist)
        # meson-python takes what git has committed.
        .venv/bin/python -c 'import mesonpy; mesonpy.build_sdist("dist")' ;;
    esac
done
ls -l dist
