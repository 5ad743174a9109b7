#!/usr/bin/env bash
# Runs a program under Debian's kernel on a processor that this computer may lack, in the emulator Bochs:
#   bochs.sh PROGRAM [ARGUMENT]...
# Arguments that name files are there, too. What the program wrote, to either of its outputs, comes out; the exit status is the
# program's, or 125 where the machine did not finish. It is slow: a hundred million instructions a second.
#
# BOCHS is the emulator, 3.0 built without its debugger: Debian 12's 2.7 knows no AVX-VNNI, and has the debugger, which is far slower.
#     ./configure --enable-x86-64 --enable-avx --enable-evex --enable-long-phy-address --enable-repeat-speedups \
#         --enable-fast-function-calls --enable-handlers-chaining --disable-docbook --with-rfb
# BOCHS_CPU (sapphire_rapids: AVX-512 VNNI and AVX-VNNI) is its processor, of `bochs --help cpu`; BOCHS_SECONDS (600) its life.
# On Debian it needs isolinux syslinux-common xorriso busybox-static cpio linux-image-amd64 binutils.
set -euo pipefail

bochs=${BOCHS:?is the emulator, Bochs 3.0}
machine=$(mktemp -d)
trap 'rm -rf "$machine"' EXIT
root=$machine/root
mkdir -p "$root"/{bin,dev,proc,tmp} "$machine/disc"

# The initramfs: busybox, the program, its libraries, its files.
cp "$(command -v busybox)" "$root/bin/busybox"
strip -o "$root/program" "$1"
for file in $(ldd "$1" | grep -o '/[^ ]*'); do
    mkdir -p "$root/$(dirname "$file")"
    cp -L "$file" "$root/$file"
done
for argument in "${@:2}"; do
    [ -f "$argument" ] && mkdir -p "$root/$(dirname "$argument")" && cp "$argument" "$root/$argument"
done
# Bochs powers off when it reads this word at its port. The serial line has to run dry before.
cat >"$root/init" <<END
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox stty -F /dev/console raw
echo BEGIN
/program $([ $# -gt 1 ] && printf '%q ' "${@:2}")
echo "STATUS \$?"
/bin/busybox sleep 5
for letter in S h u t d o w n; do
    printf \$letter | /bin/busybox dd of=/dev/port bs=1 seek=\$((0x8900)) 2>/dev/null
done
END
chmod +x "$root/init"
(cd "$root" && find . | cpio --quiet -o -H newc) >"$machine/disc/initramfs"

kernels=(/boot/vmlinuz-*)
cp "${kernels[-1]}" "$machine/disc/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$machine/disc"
# FSRM (580) without ERMS, which Bochs's firmware switches off, is more than memmove() of this kernel can take.
cat >"$machine/disc/isolinux.cfg" <<END
default linux
label linux
  kernel vmlinuz
  append initrd=initramfs console=ttyS0 quiet mitigations=off nokaslr acpi=off lsm=lockdown tsc=reliable clearcpuid=580
END
xorriso -as mkisofs -quiet -o "$machine/iso" -b isolinux.bin -c boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$machine/disc" 2>/dev/null

cat >"$machine/bochsrc" <<END
config_interface: textconfig
display_library: rfb, options="timeout=0"
cpu: model=${BOCHS_CPU:-sapphire_rapids}, ips=100000000
memory: guest=1024, host=1024
romimage: options=fastboot
ata0-master: type=cdrom, path=$machine/iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$machine/serial
log: $machine/log
panic: action=fatal
error: action=ignore
info: action=ignore
END
# It must not wait for a terminal. Its exit status says nothing: to be switched off is an error, too.
setsid --wait timeout "${BOCHS_SECONDS:-600}" "$bochs" -q -f "$machine/bochsrc" </dev/null >"$machine/out" 2>&1 || true

touch "$machine/serial"
sed -n '/^BEGIN/,/^STATUS /{/^BEGIN/d;/^STATUS /d;p}' "$machine/serial" | tr -d '\r'
status=$(sed -n 's/^STATUS \([0-9]*\).*/\1/p' "$machine/serial")
if [ -z "$status" ]; then
    echo "error: the machine did not finish" >&2
    tail -n 3 "$machine/serial" "$machine/log" "$machine/out" >&2
    exit 125
fi
exit "$status"
