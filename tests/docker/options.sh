# Many options of `docker run`, seen from inside.
mkdir rw ro
echo host >ro/f
echo one >one
printf 'A=1\nB=two words\n#c\n' >env
cat >ro/look <<'S'
p() { echo "-- $*"; "$@" 2>&1; echo "= $?"; }
p id
p hostname
p cat /etc/hosts
p cat /etc/hostname
p grep nameserver /etc/resolv.conf
p sh -c 'env | sort'
p pwd
p umask
p grep -E 'open files|core|stack size|locked' /proc/self/limits
p grep -E 'Cap|NoNew|Seccomp|Groups' /proc/self/status
p sh -c 'mount | grep -E " /(t|t2|dev|dev/shm|dev/pts|dev/mqueue|proc|sys|sys/fs/cgroup) " | sort'
p sh -c 'ls -l /dev | grep -v core | awk "{ print \$1, \$3, \$4, \$5, \$6, \$10 }"'
p stat -c '%n %F %a %u %g' /rw /ro /one /t /t2 /dev/shm /dev/mqueue /dev/mynull
p touch /rw/new /t/x
p touch /ro/new
p touch /root/x
p sh -c 'echo inside >/rw/f; cat /ro/f; echo more >>/one; cat /one'
p df -k /t /t2 /dev/shm
p tr '\0' ' ' </proc/1/cmdline
p cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range
p sh -c 'echo x >/t2/prog; chmod +x /t2/prog; /t2/prog'
p sh -c 'nc -l -p 80 & sleep 0.3; kill $!; wait $! 2>/dev/null; echo listened'
p mknod /t/null c 1 3
p chown 1:1 /t/x
S
chmod 666 one
chmod 777 rw
try run --rm --memory 96m --cpus 1 --pids-limit 50 --ulimit nofile=100:200 --ulimit core=0 \
    --user 1000 --group-add extra --group-add 77 --cap-add NET_ADMIN --cap-drop CHOWN --cap-drop MKNOD \
    --hostname castle --add-host gate:10.1.2.3 --env-file env -e C=3 -w /srv/dir \
    -v "$PWD/rw:/rw" -v "$PWD/ro:/ro:ro" -v "$PWD/one:/one" --device /dev/null:/dev/mynull \
    --mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1777 --tmpfs /t2:size=2m,mode=1777 \
    --dns 10.0.0.1 --sysctl net.ipv4.ip_unprivileged_port_start=80 --shm-size 8m \
    --entrypoint sh image /ro/look 2>&1
ls rw
cat rw/f one
