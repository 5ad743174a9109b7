#!/usr/bin/env bash
# Runs the kernels and the whole program in emulators of machines that this computer is not: aarch64 with NEON, with dot
# products and with i8mm, armv7, and x86-64 without AVX2. Fails where the instruction sets that ran are not those of
# the machine, where a kernel differs from the scalar reference, or where a photograph gives other boxes than here.
#
# Needs rustup (for the standard libraries of the targets) and, on Debian,
#     qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
set -euo pipefail
cd "$(dirname "$0")/../.."

aarch64=aarch64-unknown-linux-gnu
armv7=armv7-unknown-linux-gnueabihf
photograph=src/source/demo/chelsea.jpg
logs=target/cross

# emulator NAME FOLDER: the folder's C library with the folder's loader, also where another one for that machine is installed:
# two that do not fit together hang.
emulator() {
    echo "$1 -L $2 -E LD_LIBRARY_PATH=$2/lib"
}
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=$(emulator qemu-aarch64-static /usr/aarch64-linux-gnu)
export CC_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-gcc
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc
CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER=$(emulator qemu-arm-static /usr/arm-linux-gnueabihf)
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=qemu-x86_64-static
export CARGO_TARGET_{AARCH64_UNKNOWN_LINUX_GNU,ARMV7_UNKNOWN_LINUX_GNUEABIHF,X86_64_UNKNOWN_LINUX_GNU}_RUNNER

# kernels CPU "INSTRUCTION SETS" [OPTION]...: the tests of the kernels on that processor run these instruction sets, no more, no
# less, beside the tests' own in plain Rust.
kernels() {
    local cpu=$1 expected="emulated-4, emulated-16$2" ran
    # Tests of the program want it built, too.
    QEMU_CPU=$cpu cargo test --release "${@:3}" --lib --test layers int8:: -- --show-output | tee $logs/log
    ran=$(sed -n 's/^compared with the reference on this machine: //p' $logs/log)
    if [ "$ran" != "$expected" ]; then
        echo "error: on $cpu ran $ran, not $expected" >&2
        exit 1
    fi
    echo "$cpu: $ran ($SECONDS s)" >>$logs/ran
}

# image CPU PROGRAM EXPECTED [EMULATOR]...: the boxes of a photograph are the expected ones.
image() {
    QEMU_CPU=$1 "${@:4}" "$2" image $photograph --json >$logs/actual.json
    diff "$3" $logs/actual.json
    echo "$1: the photograph's boxes ($SECONDS s)" >>$logs/ran
}

rustup target add $aarch64 $armv7
mkdir -p $logs
rm -f $logs/ran

kernels Nehalem ""
target/release/camlive image $photograph --json >$logs/int8.json
# Without kernels the network runs in floats, and puts out a little else.
QEMU_CPU=Nehalem qemu-x86_64-static target/release/camlive image $photograph --json >$logs/float.json

for machine in "cortex-a72 , neon" "neoverse-n1 , neon, neon-dotprod" "max , neon, neon-dotprod, neon-i8mm"; do
    cpu=${machine%% *}
    kernels "$cpu" "${machine#* }" --target $aarch64
    image "$cpu" target/$aarch64/release/camlive $logs/int8.json $CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER
done

# One file with nothing but the C library beside it.
libraries=$(aarch64-linux-gnu-readelf -d target/$aarch64/release/camlive | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
if grep -v -E '^(libc|libm|libgcc_s|ld-linux-aarch64)\.so' <<<"$libraries"; then
    echo "error: the program needs these libraries" >&2
    exit 1
fi

kernels cortex-a7 "" --target $armv7
image cortex-a7 target/$armv7/release/camlive $logs/float.json $CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER

cat $logs/ran
