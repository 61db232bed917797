# Every way to write is read back and verified.
exec 2>&1
size=$1
cat >jobs <<END
[global]
directory=/job
size=$size
randseed=7
verify=crc32c
verify_fatal=1
verify_state_save=0
fallocate=posix
stonewall
END
job() { printf '[%s]\n' "$1"; shift; printf '%s\n' "$@"; echo; }
{
    job sequential rw=write bs=64k ioengine=psync
    job sequential-odd rw=write bs=4096 ioengine=sync fsync=64
    job random rw=randwrite bs=4k ioengine=psync
    job random-mixed rw=randrw bs=1k-16k bs_unaligned=0 ioengine=pvsync end_fsync=1
    job vectors rw=write bs=32k ioengine=vsync iodepth=8
    job mapped rw=randwrite bs=4k ioengine=mmap
    job mapped-sequential rw=write bs=16k ioengine=mmap
    job direct rw=randwrite bs=4k ioengine=psync direct=1
    job direct-sequential rw=write bs=128k ioengine=psync direct=1
    job appended rw=write bs=8k ioengine=psync file_append=0 fdatasync=16 overwrite=1
    job threads rw=randwrite bs=4k ioengine=psync thread=1 numjobs=2
    job pattern rw=write bs=8k ioengine=psync verify=pattern verify_pattern=0xdeadbeef
} >>jobs
fio --output-format=json --output=report jobs; echo "status $?"
python3 - <<'END'
import json
text = open("report").read()
report = json.loads(text[text.index("{"):])
for job in report["jobs"]:
    print(job["jobname"], job["error"], *(f"{way} {job[way]['io_bytes']} {job[way]['total_ios']}" for way in ("read", "write")))
END
find . -type f -name '*.0' -printf '%s %p\n' | sort
# What is written is a matter of the seed, but for the time in each header of a block.
sha256sum pattern.0.0
