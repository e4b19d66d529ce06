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
    # Peers of the core and the loop suite, whose rows say so if they are
    # missing, and what counts instructions and system calls.
    bench_package() { # FILE PACKAGE WHAT
        [ -e "$1" ] || apt_install "$2" ||
            warn "without $3: install Debian package $2"
    }
    case " $* " in
    *" --suite greenlet "*) ;;
    *" --suite core "*)
        bench_package /usr/include/boost/context libboost-context-dev \
            boost.context
        ;;
    *)
        bench_package /usr/include/boost/context libboost-context-dev \
            boost.context
        bench_package /usr/include/ev.h libev-dev libev
        bench_package /usr/include/uv.h libuv1-dev libuv
        want valgrind valgrind || warn "instructions are not counted:" \
            "install Debian package valgrind"
        want strace strace || warn "system calls are not counted:" \
            "install Debian package strace"
        ;;
    esac
    ;;
esac # conformance and bench keep environments of their own
exec $venv/bin/python "$program" "$@"
