#!/bin/sh
# test_gdb.sh TESTS - gdb shows the frames of a coroutine, and an end to them.
# TESTS is the directory of the test programs.
. "$(dirname "$0")/tap.sh"

command -v gdb >/dev/null || skip_all "gdb is not installed"
gdb -nx -batch -ex "python print(1)" >/dev/null 2>&1
gdb -nx -batch -ex run -ex "info registers pc" --args /bin/true \
    >"$tmp/probe" 2>&1
if grep -qi "ptrace\|could not\|cannot" "$tmp/probe"; then
    skip_all "gdb may not run programs here"
fi

# frames POLICY: where body_sees_arg_and_value() runs.
frames() {
    gdb -nx -batch -ex "set confirm off" -ex "set debuginfod enabled off" \
        -ex "break body_sees_arg_and_value" -ex run -ex bt \
        --args "$1/test_coro" --no-fork \
        "coro.runs_and_returns_its_result.$2" 2>&1
}

has_end() {
    grep -q "^#0 .*body_sees_arg_and_value" "$1" &&
        grep -q "^#[0-9]* .*coir__coro_entry" "$1" &&
        ! grep -qi "corrupt stack\|previous frame inner\|cannot access" "$1" \
        || { cat "$1"; false; }
}

for policy in dedicated slice; do
    frames "$1" $policy >"$tmp/bt"
    check "bt of a $policy coroutine ends cleanly" has_end "$tmp/bt"
done
tap_done
