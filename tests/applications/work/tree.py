# usage: tree.py DIRECTORY FILES. Makes a tree that is the same each time, in folders of a hundred files.
import os, random, sys

top, count = sys.argv[1], int(sys.argv[2])
chance = random.Random(1)
text = chance.randbytes(70_000)
os.umask(0)
os.makedirs(top)
os.chdir(top)


def finish(name, mode, when):
    os.chmod(name, mode)
    os.utime(name, ns=(when, when))


for at in range(count):
    folder = f"d{at // 10000}/d{at // 100 % 100}"
    if at % 100 == 0:
        os.makedirs(folder)
    name = f"{folder}/f{at % 100}"
    if at % 97 == 96:
        os.symlink(f"f{at % 100 - 1}", name)
    elif at % 53 == 52 and at % 100:
        os.link(f"{folder}/f{at % 100 - 1}", name)
    else:
        size = chance.choice((0, 1, 300, 511, 512, 513, 2000, 4096, 4097, 60_000 if at % 40 == 0 else 900))
        start = chance.randrange(len(text) - size)
        with open(name, "xb", buffering=0) as file:
            file.write(text[start : start + size])
        finish(name, chance.choice((0o644, 0o600, 0o755, 0o444, 0o640)), 1_500_000_000_000_000_000 + at * 1_234_567_891)
with open("hole", "xb") as file:
    file.seek(3_000_000)
    file.write(b"end")
os.makedirs("names/" + "l" * 120 + "/" + "m" * 120)
for name in ("names/sp ace", "names/new\nline", "names/\xe4\u20ac", "names/" + "l" * 120 + "/" + "m" * 120 + "/deep", "names/.hidden", "names/-dash"):
    open(name, "x").close()
os.mkfifo("names/fifo")
os.chmod("names/sp ace", 0o4755)
os.chmod("names/-dash", 0o2755)
os.symlink("nowhere/at/all", "names/dangling")
os.chown("names/.hidden", 1234, 5678)
for folder, _, files in os.walk(".", topdown=False):
    for name in files:
        path = os.path.join(folder, name)
        if folder.startswith("./names") or name == "hole":
            os.utime(path, ns=(10**18 + 1, 10**18 + 1), follow_symlinks=False)
        elif os.path.islink(path):
            os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    os.utime(folder, ns=(10**18, 10**18))
