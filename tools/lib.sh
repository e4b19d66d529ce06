# tools/lib.sh - what the other scripts share: messages, system packages,
# virtual environments, builds. Sourced by bash, from anywhere.
#
# Nothing here asks anything. A missing system package is installed when we
# are root and apt-get exists; else the caller is told its name.

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-${HOME:?}/.cache}/coir
PYTHON=${PYTHON:-python3}
JOBS=${JOBS:-$(nproc)}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
cd "$ROOT"

say() { printf '==> %s\n' "$*"; }
warn() { printf '    %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# apt_install PACKAGE...: true once they are installed. Lists of packages are
# fetched only if the ones at hand do not do.
apt_install() {
    [ "$(id -u)" = 0 ] && have apt-get || return 1
    say "Installing Debian packages: $*"
    local get=(apt-get -qq -y -o DPkg::Lock::Timeout=300
               -o Dpkg::Use-Pty=0 --no-install-recommends install "$@")
    local log="$CACHE/apt.log"
    mkdir -p "$CACHE"
    export DEBIAN_FRONTEND=noninteractive
    "${get[@]}" </dev/null >"$log" 2>&1 && return
    { apt-get -qq update && "${get[@]}"; } </dev/null >"$log" 2>&1 && return
    tail -n 5 "$log" >&2
    return 1
}

# want COMMAND PACKAGE...: true if the command is there, or is now.
want() {
    local command=$1
    shift
    have "$command" || { apt_install "$@" && have "$command"; }
}

# need COMMAND PACKAGE WHAT: the same, or the end.
need() {
    want "$1" "$2" || die "$3 not found: install Debian package $2"
}

need_compiler() {
    need "${CC:-cc}" gcc "C compiler"
    echo '#include <stdlib.h>' | "${CC:-cc}" -E - >/dev/null 2>&1 ||
        apt_install libc6-dev ||
        die "C library headers not found: install Debian package libc6-dev"
}

need_python() {
    need "$PYTHON" python3 "Python 3.11 or newer"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$PYTHON is older than 3.11; name another: make ... PYTHON=..."
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        apt_install python3-venv ||
        die "Python's venv not found: install Debian package python3-venv"
}

# need_python_headers PYTHON: the extension needs Python.h. Debian ships it
# apart; without root it is unpacked from the package into our cache.
need_python_headers() {
    local include version lib
    include=$("$1" -c 'import sysconfig as s; print(s.get_path("include"))')
    [ -e "$include/Python.h" ] && return
    version=${include##*python}
    version=${version%d} # those of a debug build are links to the others
    lib=libpython$version-dev
    apt_install "$lib" && [ -e "$include/Python.h" ] && return
    local dir=$CACHE/headers/$version
    [ -e "$dir/usr/include/python$version/Python.h" ] ||
        tools/fetch_deb.sh "$lib" "$dir" ||
        die "Python.h not found: install Debian package $lib"
    # Searched by every compiler, after all -I, as system headers.
    local path=$dir/usr/include:$dir/usr/include/python$version
    export C_INCLUDE_PATH=$path${C_INCLUDE_PATH:+:$C_INCLUDE_PATH}
}

# venv DIR PYTHON REQUIREMENTS...: an environment that holds exactly those;
# nothing is done if it does already.
venv() {
    local dir=$1 python=$2 name files=()
    shift 2
    for name; do files+=("tools/requirements/$name.txt"); done
    local stamp=$dir/.requirements
    local now
    now=$("$python" -VV; cat "${files[@]}")
    if [ "$(cat "$stamp" 2>/dev/null)" = "$now" ] &&
       "$dir/bin/python" -c '' 2>/dev/null; then
        return
    fi
    say "Setting up $dir ($("$python" -V)): $*"
    [ ! -e "$stamp" ] || rm "$stamp"
    "$python" -m venv --clear "$dir"
    "$dir/bin/python" -m pip install -q "${files[@]/#/--requirement=}"
    printf '%s\n' "$now" >"$stamp"
}

# Libraries that libcoir can do without; then it leaves out what they are for.
optional_libraries() {
    echo '#include <liburing.h>' | "${CC:-cc}" -E - >/dev/null 2>&1 ||
        apt_install liburing-dev ||
        warn "no io_uring in this build: install Debian package liburing-dev"
    echo '#include <ares.h>' | "${CC:-cc}" -E - >/dev/null 2>&1 ||
        apt_install libc-ares-dev ||
        warn "no c-ares in this build: install Debian package libc-ares-dev"
    echo '#include <openssl/ssl.h>' | "${CC:-cc}" -E - >/dev/null 2>&1 ||
        apt_install libssl-dev ||
        warn "no TLS in this build: install Debian package libssl-dev"
    echo '#include <zlib.h>' | "${CC:-cc}" -E - >/dev/null 2>&1 ||
        apt_install zlib1g-dev ||
        warn "no compression in this build: install Debian package zlib1g-dev"
}

# The default environment: .venv on the default interpreter. Its commands go
# first in PATH, so that meson and ninja are the pinned ones.
tools_venv() {
    need_compiler
    need_python
    optional_libraries
    venv .venv "$PYTHON" build test lint
    export PATH=$ROOT/.venv/bin:$PATH
}

# The same, ready to build the extension too.
default_venv() {
    tools_venv
    need_python_headers "$PYTHON"
}

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    [ $status = 0 ] || cat "$log" >&2
    rm -f "$log"
    return $status
}

# configure DIR [MESON OPTION...]: set up a build directory, anew if the
# options or the compiler changed.
configure() {
    local dir=$1 stamp=$1/.options now
    shift
    now="$(meson --version) ${CC:-cc} $*"
    [ "$(cat "$stamp" 2>/dev/null)" != "$now" ] || return 0
    rm -rf "$dir"
    quietly meson setup "$dir" "$@" || return
    printf '%s\n' "$now" >"$stamp"
}

# install_package VENV: build the Python package and install it there. The
# array SETUP_ARGS holds options of Meson. Its
# build directory stays in there, so that a second time is quick; but Meson
# refuses options that are new since it set that up.
SETUP_ARGS=()
install_package() {
    if ! cmp -s meson.options "$1/meson.options"; then
        rm -rf "$1/build"
        cp meson.options "$1/meson.options"
    fi
    "$1/bin/python" -m pip install -q --no-deps --no-build-isolation \
        --no-index --config-settings=build-dir="$1/build" \
        "${SETUP_ARGS[@]/#/--config-settings=setup-args=}" .
}

# tally TALLY LABEL PASSED FAILED SKIPPED
tally() { "$PYTHON" tools/tally.py add "$@"; }

# c_tests DIR LABEL TALLY [MESON OPTION...]: build and run the C tests. What
# fails is printed and counted, never the end of the script. The array
# TEST_ARGS holds more arguments for `meson test`.
TEST_ARGS=()
c_tests() {
    local dir=$1 label=$2 tally=$3 logs=$1/meson-logs
    shift 3
    say "$label"
    if ! { configure "$dir" -Dtests=enabled "$@" &&
        meson compile -C "$dir" -j "$JOBS"; }; then
        tally "$tally" "$label: build" 0 1 0
        return
    fi
    rm -f "$logs"/testlog*
    # Its own status counts for nothing: what failed is in the report, and if
    # there is no report the tests could not be built.
    meson test -C "$dir" --num-processes "$JOBS" "${TEST_ARGS[@]}" || true
    # A wrapper's name becomes a part of the report's.
    "$PYTHON" tools/tally.py meson "$tally" "$label" "$logs"/testlog*.json
}

# python_tests VENV LABEL TALLY: build, install, run tests/python. The array
# PYTEST_ARGS holds more arguments for pytest.
PYTEST_ARGS=()
python_tests() {
    local report=$1/report.xml status=0
    say "$2"
    if ! install_package "$1"; then
        tally "$3" "$2: build" 0 1 0
        return
    fi
    rm -f "$report"
    # A hang must not eat the report of all else.
    timeout -k 10 "${PYTEST_TIMEOUT:-1500}" \
        "$1/bin/python" -m pytest -q --junitxml="$report" \
        "${PYTEST_ARGS[@]}" tests/python || status=$?
    "$PYTHON" tools/tally.py junit "$3" "$2" "$report" $status
}
