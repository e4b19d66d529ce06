#!/usr/bin/env bash
# fetch_deb.sh PACKAGE DIR - unpack a Debian package, with those of the same
# source that it depends on, below DIR. Needs no root: apt-get works on lists
# of its own in our cache.
source "$(dirname "$0")/lib.sh"

package=$1
dir=$2
have apt-get && have dpkg-deb || exit 1
state=$CACHE/apt
mkdir -p "$state/lists/partial" "$state/archives/partial" "$dir.new"
apt() {
    apt-get -qq -o Dir::State::lists="$state/lists" \
        -o Dir::Cache="$state" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User="$(id -un)" "$@" </dev/null
}
say "Fetching Debian package $package into $dir"
apt update
cd "$dir.new"
apt download "$package"
dpkg-deb -x "$package"_*.deb .
rm "$package"_*.deb
cd "$ROOT"
mv -T "$dir.new" "$dir"
