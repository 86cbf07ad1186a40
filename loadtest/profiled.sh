#!/bin/sh
# Builds omnistream laid out for what it does under load (profile-guided optimization): once with counters,
# which loadtest's scenarios run through, and once more with what was counted. Some 40 minutes on two cores,
# four of them load, on loopback. OUT gets `omnistream`, `loadtest` and `simulator`.
#
#     loadtest/profiled.sh OUT
#
# Needs llvm-profdata of the compiler's LLVM: `rustup component add llvm-tools`, or its path in LLVM_PROFDATA.
set -eu

[ $# -eq 1 ] || { echo "usage: loadtest/profiled.sh OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
profdata=${LLVM_PROFDATA:-$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata}
if [ ! -x "$profdata" ]; then
    echo "there is no $profdata: run \`rustup component add llvm-tools\`, or name one in LLVM_PROFDATA" >&2
    exit 2
fi
work=$PWD/target/profiled
rm -rf "$work/counts" "$work/run"
mkdir -p "$work/counts" "$work/run"

# With --target the flags are not those of build scripts. A target directory each: flags are not part of its names.
build() {
    CARGO_TARGET_DIR="$work/$1" RUSTFLAGS="$2" \
        cargo build --release --locked --target "$host" --package omnistream-api
}

cargo build --release --locked --package loadtest --package omnistream-simulator
build counting "-Cprofile-generate=$work/counts"
cp "$work/counting/$host/release/omnistream" target/release/simulator "$work/run/"
for scenario in inbound chat fan-out rest; do
    target/release/loadtest run $scenario --within 45 --server "$work/run/omnistream" \
        --dir "$work/run" --out "$work/run/$scenario"
done
"$profdata" merge --output "$work/counts.profdata" "$work/counts"
build laid-out "-Cprofile-use=$work/counts.profdata"
cp "$work/laid-out/$host/release/omnistream" target/release/loadtest target/release/simulator "$out/"
