#!/bin/sh
# Checks the unit, sysusers and tmpfiles files with systemd's own tools, without installing anything.
# Exit status: 0 all good, 1 a finding, 77 SKIP because a tool is missing.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
for tool in systemd-analyze systemd-sysusers systemd-tmpfiles; do
    command -v "$tool" >/dev/null || { echo "SKIP systemd units: no $tool"; exit 77; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# The binary need not be installed here; everything else is verified as it is shipped.
sed 's#^ExecStart=/usr/bin/pintle #ExecStart=/bin/true #' "$here/pintle.service" >"$work/pintle.service"
mkdir "$work/pintle.service.d"
cp "$here/pintle-gpu.conf" "$work/pintle.service.d/gpu.conf"
systemd-analyze verify --man=no "$work/pintle.service" >"$work/findings" 2>&1 || { cat "$work/findings"; exit 1; }

version=$(systemd-analyze --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')
if [ "$version" -lt 253 ]; then
    # Known and wanted: the first Type= stays in force there.
    sed -i '/pintle.service:[0-9]*: Failed to parse service type, ignoring: notify-reload$/d' "$work/findings"
fi
if grep -q 'pintle\|gpu\.conf' "$work/findings"; then
    cat "$work/findings"
    exit 1
fi

mkdir -p "$work/root/etc"
systemd-sysusers --root="$work/root" "$here/pintle.sysusers.conf" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
grep -q '^pintle:' "$work/root/etc/passwd"
systemd-tmpfiles --root="$work/root" --create "$here/pintle.tmpfiles.conf" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
test "$(stat -c %a "$work/root/etc/pintle")" = 750
echo "systemd $version accepts pintle.service with pintle-gpu.conf, pintle.sysusers.conf and pintle.tmpfiles.conf"
