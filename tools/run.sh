#!/usr/bin/env bash
# run.sh WHAT [ARGUMENT...] - set up, then run one of the programs that show
# or measure Coir: demo, bench, conformance, soak.
source "$(dirname "$0")/lib.sh"

what=$1
shift
case $what in
demo) program=tools/demo.py ;;
bench) program=bench/run.py ;;
conformance) program=tests/conformance/run.py ;;
soak) program=tests/soak/run.py ;;
*) die "unknown program: $what" ;;
esac

default_venv
venv=.venv
case $what in
demo)
    # It brings the original greenlet, which the tests must not meet.
    venv=build/demo/venv
    venv $venv "$PYTHON" build demo
    say "Building Coir"
    configure build/c -Dtests=enabled
    quietly meson compile -C build/c -j "$JOBS"
    install_package $venv
    ;;
soak)
    say "Building Coir"
    install_package $venv
    ;;
bench)
    # A peer of the core suite; its rows say so if it is missing.
    [ -e /usr/include/boost/context ] || apt_install libboost-context-dev ||
        warn "without boost.context: install Debian package" \
            "libboost-context-dev"
    ;;
esac # conformance and bench keep environments of their own
exec $venv/bin/python "$program" "$@"
