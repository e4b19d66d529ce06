#!/bin/sh
# test_headers.sh INCLUDE - each public header compiles on its own, as C and as
# C++ of several years, without a warning. CC and CXX are the compilers.
. "$(dirname "$0")/tap.sh"

include=$1
cc=${CC:-cc}
cxx=${CXX:-c++}
flags="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only"

for path in "$include"/coir.h "$include"/coir/*.h; do
    header=${path#"$include"/}
    printf '#include <%s>\n#include <%s>\nint main(void) { return 0; }\n' \
        "$header" "$header" >"$tmp/x.c"
    for std in c11 c17; do
        check "$header as $std" \
            $cc -std=$std $flags -Wstrict-prototypes -I"$include" "$tmp/x.c"
    done
    for std in c++11 c++17 c++20; do
        if command -v ${cxx%% *} >/dev/null; then
            check "$header as $std" \
                $cxx -x c++ -std=$std $flags -I"$include" "$tmp/x.c"
        else
            skip "$header as $std" "no C++ compiler"
        fi
    done
done
tap_done
