# What a container is kept from.
cat >profile.json <<'S'
{ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
  { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13 },
  { "names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 3,
    "args": [{ "index": 1, "value": 10, "op": "SCMP_CMP_EQ" }] },
  { "names": ["sethostname"], "action": "SCMP_ACT_KILL_PROCESS" } ] }
S
look='exec 2>&1; grep -E "Seccomp|NoNew|CapEff" /proc/self/status; mkdir /x; echo $?; hostname foo; echo $?
    kill -USR1 $$; echo $?; kill -0 $$; echo $?
    unshare -m true; echo $?; mount -t tmpfs t /tmp; echo $?; chown 5 /etc/passwd; echo $?; touch /y /run/z; echo $?
    ls /sys/firmware; echo 1 >/proc/sys/vm/swappiness'
echo "-- as usual"
try run --rm image sh -c "$look"
echo "-- a profile, no capabilities, a read-only root"
try run --rm --security-opt "seccomp=$PWD/profile.json" --security-opt no-new-privileges --cap-drop ALL \
    --read-only --tmpfs /run image sh -c "$look"
