#!/usr/bin/env bash
# lint.sh [--fix] - formats, warnings as errors, static analysis, types. Each
# check counts as one test. --fix rewrites the sources instead.
source "$(dirname "$0")/lib.sh"

tools_venv
need_python_headers "$PYTHON"
mkdir -p build/lint
tally=build/lint/lint.tally
: >"$tally"

sources() { git ls-files --cached --others --exclude-standard "$@"; }
mapfile -t c_files < <(sources '*.c' '*.h')

# Formats differ between versions of clang-format; ours is Debian 12's.
clang_format() {
    local name
    want clang-format-14 clang-format-14 >&2 || true # the name is printed
    for name in clang-format-14 clang-format; do
        if "$name" --version 2>/dev/null | grep -q 'version 14\.'; then
            echo "$name"
            return
        fi
    done
    return 1
}

check() { # LABEL COMMAND...
    local label=$1
    shift
    say "$label"
    if "$@"; then
        tally "$tally" "$label" 1 0 0
    else
        tally "$tally" "$label" 0 1 0
    fi
}

skip() { # LABEL PACKAGE
    warn "skipped: $1: install Debian package $2"
    tally "$tally" "$1 (skipped: install Debian package $2)" 0 0 1
}

warnings() { # COMPILER: everything built with its warnings as errors
    CC=$1 configure "build/lint/$1" -Dwerror=true -Dtests=enabled \
        -Dpython=enabled -Dbench=enabled &&
        quietly meson compile -C "build/lint/$1" -j "$JOBS"
}

# Every C file that the build compiles is analysed, with its own flags.
tidy() {
    "$PYTHON" tools/compiled.py build/lint/clang |
        xargs -P "$JOBS" -n 1 clang-tidy -p build/lint/clang --quiet 2>&1 |
        grep -v 'warnings\? generated\.$\|^Suppressed \|^Use -header-filter'
    return "${PIPESTATUS[1]}"
}

if [ "${1:-}" = --fix ]; then
    format=$(clang_format) ||
        die "clang-format 14 not found: install Debian package clang-format-14"
    "$format" -i "${c_files[@]}"
    ruff check --fix .
    exit
fi

if format=$(clang_format); then
    check "clang-format" "$format" --dry-run -Werror "${c_files[@]}"
else
    skip "clang-format" clang-format-14
fi
check "gcc without warnings" warnings gcc
if want clang clang; then
    check "clang without warnings" warnings clang
    if want clang-tidy clang-tidy; then
        check "clang-tidy" tidy
    else
        skip "clang-tidy" clang-tidy
    fi
else
    skip "clang without warnings" clang
    skip "clang-tidy" clang-tidy
fi
check "ruff" ruff check --output-format concise .
check "mypy" mypy

say "Result"
"$PYTHON" tools/tally.py total "$tally"
