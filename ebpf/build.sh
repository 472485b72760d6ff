#!/bin/sh
# Rebuilds the objects of the XDP programs: ebpf/build.sh [FOLDER]. Needs clang and llvm.
set -eu
cd "$(dirname "$0")"
folder=${1:-bin}
# -g gives BTF, which the maps' definitions need; the rest of the debug information goes again. The
# objects must not depend on the folder that they are built in.
for name in weir bare; do
    clang -O2 -g "-ffile-prefix-map=$PWD=." -fdebug-compilation-dir=. -Wall -Wextra -Werror \
        -Wno-unused-parameter -target bpf -mcpu=v3 -I"/usr/include/$(uname -m)-linux-gnu" \
        -c "bpf/$name.bpf.c" -o "$folder/$name.bpf.o"
    llvm-strip --strip-debug "$folder/$name.bpf.o"
done
