#!/usr/bin/env bash
# test.sh - build all and run all tests on the default interpreter. The last
# line counts C and Python tests together.
source "$(dirname "$0")/lib.sh"

default_venv
tally=build/test.tally
mkdir -p build
: >"$tally"

c_tests build/c "C" "$tally"

say "Python"
if install_package .venv/bin/python; then
    python_tests .venv/bin/python "Python" "$tally"
else
    tally "$tally" "Python: build" 0 1 0
fi

say "Result"
"$PYTHON" tools/tally.py total "$tally"
