#!/bin/sh
# test_examples.sh BUILT SOURCES NAME... - runs each built example, with
# SOURCES/NAME.input as its input if there is one, and compares what it prints
# with SOURCES/NAME.expected. EMULATOR is the command to run them with, empty
# for none.
. "$(dirname "$0")/tap.sh"

built=$1
sources=$2
shift 2

run() {
    input=$sources/$1.input
    test -e "$input" || input=/dev/null
    ${EMULATOR:-} "$built/$1" <"$input" >"$tmp/printed" && \
        diff "$sources/$1.expected" "$tmp/printed"
}

for name; do
    if [ "$name" = deadlock_report ] && [ -n "${EMULATOR:-}" ]; then
        skip "$name" "an emulator has threads, which might end the waits"
    else
        check "$name prints what it should" run "$name"
    fi
done
tap_done
