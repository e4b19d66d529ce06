#!/usr/bin/env bash
# matrix.sh - all tests on every CPython that can be had, and the C tests on
# AArch64, with clang and with the build's options. What cannot be had is a
# skip, with its reason.
#
# A debug build of CPython counts all references and asserts what it relies on.
#
# A Python version comes from this machine, or from a chroot with a newer
# Debian (chroot.sh).
source "$(dirname "$0")/lib.sh"

VERSIONS="3.11 3.12 3.13 3.14 3.15"
SUITE=sid
SUITE_VERSIONS="3.13 3.14 3.15"
# Debian's debug builds are named so. They are several times slower: what is
# about other programs, or about scale, is left out.
DEBUG_VERSION=3.14-dbg
NOT_IN_DEBUG="alias cli docs eventlet_docs examples gevent_docs http_gunicorn
    package recursion scale serve stubs"
export tally=build/matrix/matrix.tally

skip() { # LABEL REASON
    warn "skipped: $1: $2"
    tally "$tally" "$1 (skipped: $2)" 0 0 1
}

# find_python VERSION: print the interpreter's path, if it is on this machine.
find_python() {
    local candidate
    if [[ $1 = *-dbg ]]; then
        command -v "python$1"
        return
    fi
    for candidate in "$PYTHON" "python$1" $(pyenv_pythons "$1"); do
        "$candidate" -c 'if True:
            import sys
            if "%d.%d" % sys.version_info[:2] != sys.argv[1]: sys.exit(1)
            print(sys.executable)' "$1" 2>/dev/null && return
    done
    return 1
}

pyenv_pythons() {
    have pyenv || return 0
    local version
    for version in $(pyenv versions --bare | grep "^$1\." | sort -rV); do
        echo "$(pyenv prefix "$version")/bin/python$1"
    done
}

# test_python VERSION PYTHON: build for it, run the tests. In a process of its
# own, outside or inside the chroot, so that its errors end nothing else.
test_python() {
    local venv=build/matrix/$1 label
    PYTHON=$2
    label="Python $("$PYTHON" -c \
        'import platform; print(platform.python_version())')"
    need_compiler
    need_python
    need_python_headers "$PYTHON"
    venv "$venv" "$PYTHON" build test
    export PATH=$ROOT/$venv/bin:$PATH
    if [[ $1 = *-dbg ]]; then
        test_debug "$venv" "$label, debug"
        return
    fi
    python_tests "$venv" "$label" "$tally"
    # Off unless asked for, where it is built in.
    if "$PYTHON" -c 'import sys; sys.exit(not sys._jit.is_available())' \
        2>/dev/null; then
        export PYTHON_JIT=1
        python_tests "$venv" "$label, JIT" "$tally"
    fi
}

# test_debug VENV LABEL: with our assertions, too.
test_debug() {
    local name
    SETUP_ARGS=(-Db_ndebug=false)
    for name in $NOT_IN_DEBUG; do
        PYTEST_ARGS+=("--ignore=tests/python/test_$name.py")
    done
    python_tests "$1" "$2" "$tally"
}

python_version() {
    local version=$1 python enter=()
    if python=$(find_python "$version"); then
        :
    elif [[ " $SUITE_VERSIONS $DEBUG_VERSION " != *" $version "* ]]; then
        skip "Python $version" "not on this machine"
        return
    elif [ -z "$chroot_ready" ]; then
        skip "Python $version" "not on this machine, and no chroot"
        return
    elif ! tools/chroot.sh run $SUITE "python$version" -c ''; then
        skip "Python $version" "not on this machine, nor in Debian $SUITE"
        return
    else
        enter=(tools/chroot.sh run $SUITE)
        python=python$version
    fi
    "${enter[@]}" tools/matrix.sh --python "$version" "$python" ||
        tally "$tally" "Python $version: set-up" 0 1 0
}

prepare_chroot() {
    local version packages=(gcc libc6-dev)
    for version in $SUITE_VERSIONS; do
        find_python "$version" >/dev/null ||
            packages+=("python$version-dev" "python$version-venv")
    done
    find_python $DEBUG_VERSION >/dev/null || packages+=(
        "python$DEBUG_VERSION"
        "python${DEBUG_VERSION%-dbg}-dev" "python${DEBUG_VERSION%-dbg}-venv")
    [ ${#packages[@]} -gt 2 ] || return 1
    tools/chroot.sh make $SUITE "${packages[@]}"
}

aarch64() {
    local label="C, AArch64 under qemu"
    if ! want aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu; then
        skip "$label" "install Debian package gcc-aarch64-linux-gnu"
    elif ! want qemu-aarch64-static qemu-user-static; then
        skip "$label" "install Debian package qemu-user-static"
    elif [ ! -e /usr/aarch64-linux-gnu/include/stdlib.h ] &&
        ! apt_install libc6-dev-arm64-cross; then
        skip "$label" "install Debian package libc6-dev-arm64-cross"
    else
        c_tests build/matrix/aarch64 "$label" "$tally" \
            --cross-file tools/cross/aarch64-linux-gnu.ini
    fi
}

clang() {
    local label="C, clang, static library"
    if want clang clang; then
        CC=clang c_tests build/matrix/clang "$label" "$tally" \
            -Ddefault_library=static
    else
        skip "$label" "install Debian package clang"
    fi
}

options() {
    c_tests build/matrix/ucontext "C, ucontext" "$tally" -Dcontext=ucontext
    c_tests build/matrix/no-fpu "C, no FPU state, no TLS, shared library" \
        "$tally" -Dfpu_state=false -Ddefault_library=shared -Dtls=disabled
}

if [ "${1:-}" = --python ]; then
    test_python "$2" "$3"
    exit
fi

default_venv
mkdir -p build/matrix
: >"$tally"
chroot_ready=
if prepare_chroot; then chroot_ready=yes; fi
for version in $VERSIONS $DEBUG_VERSION; do
    python_version "$version"
done
options
clang
aarch64
say "Result"
"$PYTHON" tools/tally.py total "$tally"
