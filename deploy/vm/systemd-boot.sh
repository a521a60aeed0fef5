#!/busybox sh
# The first process of a machine with a disk: loads modules and goes over to the disk's systemd.
busybox=/busybox
$busybox mkdir -p /proc /dev /disk
$busybox mount -t proc proc /proc
$busybox mount -t devtmpfs dev /dev
for module in /modules/*; do $busybox insmod "$module"; done
until [ -b /dev/vda ]; do $busybox sleep 0.1; done
$busybox mount -t ext4 /dev/vda /disk
$busybox umount /proc
$busybox mount --move /dev /disk/dev
exec $busybox switch_root /disk /sbin/init
