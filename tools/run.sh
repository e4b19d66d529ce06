#!/usr/bin/env bash
# run.sh WHAT [ARGUMENT...] - set up, then run one of the programs that show
# or measure Coir: demo, bench, conformance, soak-greenlet, soak-gevent,
# soak-echo.
source "$(dirname "$0")/lib.sh"

what=$1
shift
case $what in
demo) program=tools/demo.py ;;
bench) program=bench/run.py ;;
conformance) program=tests/conformance/run.py ;;
soak-greenlet) program=tests/soak/run.py ;;
soak-gevent) program=tests/soak/gevent_soak.py ;;
soak-echo)
    tools_venv
    say "Building Coir"
    configure build/c -Dtests=enabled
    quietly meson compile -C build/c -j "$JOBS"
    exec build/c/tests/soak/echo/echo_soak "$@"
    ;;
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
    quietly "${CC:-cc}" -O2 -D_GNU_SOURCE -pthread bench/c/load.c \
        -o build/demo/load
    install_package $venv
    want wrk wrk || warn "without wrk: install Debian package wrk"
    ;;
soak-greenlet | soak-gevent)
    say "Building Coir"
    install_package $venv
    ;;
bench)
    # Peers, whose rows say so if they are missing, and what counts
    # instructions and system calls.
    bench_package() { # FILE PACKAGE WHAT
        [ -e "$1" ] || apt_install "$2" ||
            warn "without $3: install Debian package $2"
    }
    bench_counters() {
        want valgrind valgrind || warn "instructions are not counted:" \
            "install Debian package valgrind"
        want strace strace || warn "system calls are not counted:" \
            "install Debian package strace"
    }
    core_peers() {
        bench_package /usr/include/boost/context libboost-context-dev \
            boost.context
    }
    loop_peers() {
        bench_package /usr/include/ev.h libev-dev libev
        bench_package /usr/include/uv.h libuv1-dev libuv
        bench_counters
    }
    hub_peers() {
        bench_package /usr/include/ev.h libev-dev libev
        want c++ g++ || warn "without boost.fiber: install Debian package g++"
        bench_package /usr/include/boost/fiber libboost-fiber-dev boost.fiber
        want go golang-go || warn "without Go: install Debian package" \
            golang-go
        # Debian's State Threads does not find epoll when it is built.
        local dir=$CACHE/bench/st
        [ -e "$dir/obj/libst.a" ] ||
            { tools/fetch_source.sh st "$dir" &&
                quietly make -C "$dir" linux-optimized \
                    EXTRA_CFLAGS=-DMD_HAVE_EPOLL; } ||
            warn "without State Threads, which could not be built"
        bench_counters
    }
    parse_peers() {
        # The sources alone: llhttp's are in httptools' archive.
        local dir=$CACHE/bench/httptools
        [ -e "$dir/vendor" ] || {
            mkdir -p "$dir" &&
                quietly $venv/bin/pip download --no-deps --no-binary :all: \
                    -d "$dir" httptools==0.9.0 &&
                tar xf "$dir"/httptools-*.tar.gz -C "$dir" \
                    --strip-components 1
        } || warn "without llhttp, whose sources could not be fetched"
        dir=$CACHE/bench/picohttpparser
        [ -e "$dir/picohttpparser" ] ||
            tools/fetch_source.sh libhttp-parser-xs-perl "$dir" ||
            warn "without picohttpparser, which could not be fetched"
        want valgrind valgrind || warn "instructions are not counted:" \
            "install Debian package valgrind"
    }
    http_peers() {
        want wrk wrk || warn "without wrk: install Debian package wrk"
        bench_package /usr/include/ev.h libev-dev bjoern
    }
    case " $* " in
    *" --suite parse "*) parse_peers ;;
    *" --suite http "*) http_peers ;;
    *" --suite greenlet "* | *" --suite gevent "*) ;;
    *" --suite core "*) core_peers ;;
    *" --suite loop "*) core_peers; loop_peers ;;
    *" --suite hub "*) core_peers; hub_peers ;;
    *) core_peers; loop_peers; hub_peers; parse_peers; http_peers ;;
    esac
    ;;
conformance)
    # Servers that programs are run with, which are skipped without them.
    case " $* " in
    *" --suite programs "*)
        want redis-server redis-server || true
        PATH=$PATH:/usr/sbin want mariadbd mariadb-server-core || true
        compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
            want postgres postgresql || true
        ;;
    esac
    ;;
esac # conformance and bench keep environments of their own
exec $venv/bin/python "$program" "$@"
