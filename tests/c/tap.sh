# tap.sh - what the tests written in shell share: TAP on stdout.
set -u
tap_count=0

# ok "name" / not_ok "name" file: the file says why, as comments.
ok() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

not_ok() {
    tap_count=$((tap_count + 1))
    echo "not ok $tap_count - $1"
    sed 's/^/# /' "$2"
}

skip() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

# check "name" command...: passes if the command does.
check() {
    tap_name=$1
    shift
    if "$@" >"$tmp/output" 2>&1; then
        ok "$tap_name"
    else
        not_ok "$tap_name" "$tmp/output"
    fi
}

tap_done() {
    echo "1..$tap_count"
}

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
