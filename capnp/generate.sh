#!/bin/sh
# Regenerates capnp/src/*_capnp.rs from capnp/schema. Needs the pinned `capnp` compiler:
# the generated Rust is checked in, so that building weir does not.
set -eu
cd "$(dirname "$0")"
pinned=$(cat schema/compiler-version)
found=$(capnp --version 2>/dev/null || true)
if [ "$found" != "$pinned" ]; then
    echo "generate.sh: need '$pinned', found '${found:-no capnp}' (Debian 12: apt install capnproto)" >&2
    exit 1
fi
cargo run --quiet --package weir-rpc --example generate -- src
