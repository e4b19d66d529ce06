#!/usr/bin/env bash
# test.sh - build all and run all tests on the default interpreter. The last
# line counts C and Python tests together.
source "$(dirname "$0")/lib.sh"

default_venv
tally=build/test.tally
mkdir -p build
: >"$tally"

c_tests build/c "C" "$tally"
python_tests .venv "Python" "$tally"

say "Result"
"$PYTHON" tools/tally.py total "$tally"
