#!/bin/sh
# test_examples.sh BUILT SOURCES NAME... - runs each built example and compares
# what it prints with SOURCES/NAME.expected. EMULATOR is the command to run
# them with, empty for none.
. "$(dirname "$0")/tap.sh"

built=$1
sources=$2
shift 2

run() {
    ${EMULATOR:-} "$built/$1" >"$tmp/printed" && \
        diff "$sources/$1.expected" "$tmp/printed"
}

for name; do
    check "$name prints what it should" run "$name"
done
tap_done
