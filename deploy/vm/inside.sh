#!/bin/sh
# The test machine with the host's files as its root, all read-only: makes it a machine, and runs the tests.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
export HOME=/run TMPDIR=/var/tmp PYTHONDONTWRITEBYTECODE=1 ORCH_TEST_PATIENCE=6
mount -t devtmpfs dev /dev
stty -onlcr < /dev/ttyS0
exec < /dev/null > /dev/ttyS0 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
for directory in /run /tmp /var/tmp; do
    case "$project/" in
        "$directory"/*) ;;
        *) mount -t tmpfs -o mode=1777 tmpfs "$directory" ;;
    esac
done
mount -t ext4 /dev/vda /var/tmp
chmod 1777 /var/tmp
mount --make-rshared /
ip link set lo up
hostname orch-vm

# As systemd has it: controllers for the units, and the tests in a unit's group.
echo "+cpu +memory +pids +io" > /sys/fs/cgroup/cgroup.subtree_control
mkdir -p /sys/fs/cgroup/system.slice/test.service

cd "$project" || exit
echo "Linux $(uname -r), cgroup v2 with $(cat /sys/fs/cgroup/cgroup.controllers); booted in $(cut -d' ' -f1 /proc/uptime) s"
(
    sh -c 'echo "$PPID"' > /sys/fs/cgroup/system.slice/test.service/cgroup.procs
    eval "$command"
)
echo $? > /dev/ttyS1
sync
busybox poweroff -f
