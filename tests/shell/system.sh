# What config.json hides or makes read-only in /proc and /sys, and what needs privileges.
exec 2>&1
cd /tmp
echo "== mounts"
awk '{ print $2, $3 }' /proc/mounts | sed 's/^\/ .*/\//' | sort; mount | wc -l
echo "== hidden and read-only"
cat /proc/kcore | wc -c; cat /proc/keys | wc -c; ls /sys/firmware | wc -l; ls /proc/acpi | wc -l
echo x >/proc/sys/kernel/hostname; echo $?; echo 1 >/proc/sys/vm/drop_caches; echo $?; echo b >/proc/sysrq-trigger; echo $?
mkdir /proc/x; echo $?; mkdir /sys/x; echo $?; ls /proc/self/ns | sort | tr '\n' ' '; echo; grep -oE '\[(vdso|vvar)\]$' /proc/self/maps | sort
ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l; ls -d /sys/class /sys/kernel /sys/block; ls /sys/class/net
echo "== privileges"
hostname other; echo $?; kill -9 99999; echo $?; mount -t tmpfs none /tmp; echo $?; umount /proc; echo $?; chroot /tmp true; echo $?
unshare -m true; echo $?; insmod x; echo $?; date -s 2020-01-01 >/dev/null; echo $?; renice -n -5 -p 1; echo $?; sysctl -n kernel.ostype
dmesg | wc -l >/dev/null; swapoff -a; echo $?; reboot -f; echo $?; mknod n b 8 0; echo $?; chown 1:1 all; echo $?; nsenter -t 1 -n true; echo $?
