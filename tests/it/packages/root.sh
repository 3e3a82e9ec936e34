#!/usr/bin/env bash
# Runs one script by systemd in a temporary copy of this system: an overlay with namespaces of its own.
#
#   unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup root.sh DIR SCRIPT
#
# DIR contains only `files`, which is /files in the copy. SCRIPT runs in the started system with its output in /files/log; its exit
# status is that of this script.
set -euo pipefail
dir=$1 script=$2
mount --make-rprivate /
mkdir "$dir/root"
mount -t tmpfs -o mode=0755 tmpfs "$dir/root"
mkdir "$dir"/root/{upper,work,merged}
mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/root/upper,workdir=$dir/root/work" "$dir/root/merged"
cd "$dir/root/merged"

# As in a container, the kernel's settings are read-only.
mount -t proc proc proc
mount --bind -o ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=0755 tmpfs sys/fs/cgroup
if grep -q '^[0-9]*:name=systemd:' /proc/self/cgroup; then
    mkdir sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
else
    mount -t cgroup2 cgroup2 sys/fs/cgroup
fi
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=0755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
ln -s /proc/self/fd dev/fd
touch "$dir/files/console" dev/console
mount --bind "$dir/files/console" dev/console
mkdir files
mount --bind "$dir/files" files

# Services and mounts of this machine do not start. A package may start services, as on a server.
rm -f usr/sbin/policy-rc.d
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires
: > etc/fstab
cat > etc/systemd/system/tried.service << END
[Unit]
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
StandardOutput=file:/files/log
StandardError=inherit
ExecStart=/bin/bash $script
TimeoutStartSec=infinity
END
exec chroot . /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    "$(readlink -e lib/systemd/systemd usr/lib/systemd/systemd | head -1 | sed "s#^$PWD##")" --system --unit=tried.service --show-status=no
