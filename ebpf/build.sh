#!/bin/sh
# Rebuilds the XDP program's object: ebpf/build.sh [OUTPUT]. Needs clang and llvm.
set -eu
cd "$(dirname "$0")"
output=${1:-bin/weir.bpf.o}
# -g gives BTF, which the maps' definitions need; the rest of the debug information goes again. The
# object must not depend on the folder that it is built in.
clang -O2 -g "-ffile-prefix-map=$PWD=." -fdebug-compilation-dir=. -Wall -Wextra -Werror -target bpf -mcpu=v3 \
    -I"/usr/include/$(uname -m)-linux-gnu" -c bpf/weir.bpf.c -o "$output"
llvm-strip --strip-debug "$output"
