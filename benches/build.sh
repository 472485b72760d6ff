#!/bin/sh
# Rebuilds the benches' XDP programs: benches/build.sh [OUTPUT]. Needs clang and llvm.
set -eu
cd "$(dirname "$0")"
output=${1:-bin/bench.bpf.o}
# The object must not depend on the folder that it is built in; see ebpf/build.sh.
clang -O2 -g "-ffile-prefix-map=$PWD=." -fdebug-compilation-dir=. -Wall -Wextra -Werror -target bpf -mcpu=v3 \
    -I"/usr/include/$(uname -m)-linux-gnu" -c bpf/bench.bpf.c -o "$output"
llvm-strip --strip-debug "$output"
