#!/usr/bin/env bash
# sanitize.sh - the C tests under AddressSanitizer with
# UndefinedBehaviorSanitizer, under ThreadSanitizer and under valgrind.
source "$(dirname "$0")/lib.sh"

tools_venv
tally=build/sanitize/sanitize.tally
mkdir -p build/sanitize
: >"$tally"

# The sanitizers of gcc 12 and clang 14 know address layouts with less
# randomness than some kernels are set to.
if setarch --addr-no-randomize true 2>/dev/null; then
    TEST_ARGS=(--wrapper "setarch --addr-no-randomize")
fi

# Everything is an error, and what the tests cannot report ends them.
export ASAN_OPTIONS=detect_stack_use_after_return=0:abort_on_error=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

c_tests build/sanitize/asan "C, ASan and UBSan" "$tally" \
    -Db_sanitize=address,undefined -Db_lundef=false -Dvalgrind=disabled
c_tests build/sanitize/tsan "C, TSan" "$tally" \
    -Db_sanitize=thread -Db_lundef=false -Dvalgrind=disabled

if want valgrind valgrind libc6-dbg; then
    TEST_ARGS=(--timeout-multiplier 10 --wrapper
        "valgrind -q --error-exitcode=99 --leak-check=full
            --errors-for-leak-kinds=definite --show-possibly-lost=no"
        --no-suite scripts)
    c_tests build/sanitize/valgrind "C, valgrind" "$tally" \
        -Dvalgrind=enabled
else
    tally "$tally" "C, valgrind (skipped: install Debian package valgrind)" \
        0 0 1
fi

say "Result"
"$PYTHON" tools/tally.py total "$tally"
