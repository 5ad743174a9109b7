#!/usr/bin/env bash
# Runs the kernels and the whole program in emulators of machines that this computer is not: aarch64 with NEON, with dot
# products and with i8mm, armv7, and x86-64 with and without AVX2. Fails where an instruction set that a machine has did not
# run, where a kernel differs from the scalar reference, or where a photograph gives other boxes than here.
#
# Needs rustup (for the standard libraries of the targets) and, on Debian,
#     qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
set -euo pipefail
cd "$(dirname "$0")/../.."

aarch64=aarch64-unknown-linux-gnu
armv7=armv7-unknown-linux-gnueabihf
x86_64=x86_64-unknown-linux-gnu
photograph=src/source/demo/chelsea.jpg

rustup target add $aarch64 $armv7
export CARGO_TARGET_DIR=target/cross
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
export CC_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER="qemu-arm-static -L /usr/arm-linux-gnueabihf"
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=qemu-x86_64-static

# kernels TARGET CPU [INSTRUCTION SET]...: the tests of the kernels on that processor run these instruction sets, no more, no
# less. Besides them there are the tests' own, in plain Rust.
kernels() {
    local target=$1 cpu=$2 line='compared with the reference on this machine: '
    shift 2
    local expected ran
    expected=$(printf ', %s' emulated-4 emulated-16 "$@")
    QEMU_CPU=$cpu cargo test --release --target "$target" --lib int8 -- --show-output | tee target/cross/log
    ran=$(sed -n "s/^$line/, /p" target/cross/log)
    if [ "$ran" != "$expected" ]; then
        echo "error: on $cpu ran${ran#,}, not${expected#,}" >&2
        exit 1
    fi
    echo "$target, $cpu: ran${ran#,}" | tee -a target/cross/ran
}

# image TARGET CPU: the boxes of a photograph are those of this computer.
image() {
    QEMU_CPU=$2 cargo run --release --target "$1" -- image $photograph --json >target/cross/actual.json
    diff target/cross/expected.json target/cross/actual.json
    echo "$1, $2: the same boxes" | tee -a target/cross/ran
}

mkdir -p target/cross
rm -f target/cross/ran
CARGO_TARGET_DIR=target cargo run --release -- image $photograph --json >target/cross/expected.json

kernels $aarch64 cortex-a72 neon
image $aarch64 cortex-a72
kernels $aarch64 neoverse-n1 neon neon-dotprod
image $aarch64 neoverse-n1
kernels $aarch64 max neon neon-dotprod neon-i8mm
image $aarch64 max

# One file with nothing but the C library beside it.
libraries=$(aarch64-linux-gnu-readelf -d target/cross/$aarch64/release/camlive | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
echo "$aarch64 needs" $libraries | tee -a target/cross/ran
if others=$(grep -v -E '^(libc|libm|libgcc_s|ld-linux-aarch64)\.so' <<<"$libraries"); then
    echo "error: the program needs" $others >&2
    exit 1
fi

kernels $armv7 cortex-a7
kernels $x86_64 Nehalem
kernels $x86_64 Haswell avx2

echo
cat target/cross/ran
