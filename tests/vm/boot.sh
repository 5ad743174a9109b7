#!/bin/sh
# Runs one command under Debian's kernel in an emulated machine. README.md says how.
#   boot.sh OUT COMMAND [ARGUMENT]...
# Exit status: the command's own; 125 where the machine could not be built or did not finish;
# 69 where this computer lacks a part, named in one line on standard error.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

lack() { echo "$1" >&2; exit 69; }
for tool in qemu-system-x86_64 cpio busybox modprobe; do
    command -v "$tool" > /dev/null || lack "no $tool: install qemu-system-x86 cpio busybox-static kmod"
done
kernel=
for candidate in /usr/lib/modules/*; do
    [ -e "$candidate/updates/dkms/v4l2loopback.ko" ] || continue
    [ -e "$candidate/kernel/drivers/media/test-drivers/vivid/vivid.ko" ] || continue
    [ -r "/boot/vmlinuz-${candidate##*/}" ] && kernel=${candidate##*/}
done
[ -n "$kernel" ] ||
    lack "no kernel with vivid and v4l2loopback: install linux-image-amd64 linux-headers-amd64 v4l2loopback-dkms"

out=$1
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
image=$(mktemp -d)
trap 'rm -rf "$image"' EXIT

# The initramfs: busybox, and the modules that reach the host's root over 9p.
mkdir -p "$image/root/bin"
cp "$(command -v busybox)" "$image/root/bin/busybox"
cp "$here/init" "$image/root/init"
chmod +x "$image/root/init"
for module in virtio_pci 9pnet_virtio 9p; do
    modprobe -S "$kernel" --show-depends "$module"
done | while read -r insmod path _; do
    [ "$insmod" = insmod ] || continue
    [ -e "$image/root/${path##*/}" ] && continue
    cp "$path" "$image/root/"
    echo "/${path##*/}" >> "$image/root/modules.order"
done
(cd "$image/root" && find . | cpio --quiet -o -H newc) > "$image/initramfs"

# The command, quoted word by word, in the folder that the caller stands in.
{
    echo "export HOME=/run TMPDIR=/run PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    echo "cd '$(pwd)'"
    for word in "$@"; do
        printf "'%s' " "$(printf %s "$word" | sed "s/'/'\\\\''/g")"
    done
    echo
} > "$out/command"
rm -f "$out/status"

# Nehalem: emulating AVX2 takes longer than doing without it.
timeout "${VM_SECONDS:-600}" qemu-system-x86_64 \
    -accel tcg,thread=multi -cpu "${VM_CPU:-Nehalem}" -smp 2 -m 2048 -nodefaults -no-user-config \
    -display none -serial "file:$out/console" -no-reboot \
    -kernel "/boot/vmlinuz-$kernel" -initrd "$image/initramfs" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off" \
    -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev "local,id=out,path=$out,security_model=none" \
    -device virtio-9p-pci,fsdev=out,mount_tag=out ||
    { echo "the machine did not finish; its console is $out/console" >&2; exit 125; }
[ -e "$out/status" ] || { echo "the machine died; its console is $out/console" >&2; exit 125; }
cat "$out/stdout"
cat "$out/stderr" >&2
exit "$(cat "$out/status")"
