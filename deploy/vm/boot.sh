#!/busybox sh
# The first process of the test machine: mounts the host's files and goes over to them.
busybox=/busybox
$busybox mkdir -p /proc /host
$busybox mount -t proc proc /proc
for module in /modules/*; do $busybox insmod "$module"; done
$busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro host /host
. /job
$busybox umount /proc
export project command
exec $busybox switch_root /host /bin/sh "$project/deploy/vm/inside.sh"
