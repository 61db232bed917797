# Files that go in and out, and what the engine sees of changes.
echo text >a
mkdir -p d/e
echo x >d/e/f
ln -s f d/e/l
chmod 640 a
run -d --name "$BOX" image sh -c \
    'echo made >/made; mkdir /dir; echo 1 >/dir/1; ln -s 1 /dir/l; rm /bin/xz; chmod 600 /etc/group; echo up; exec sleep 1000' |
    wc -l
until_true said up
try docker cp a "$BOX:/copied"
try docker cp d "$BOX:/dir/"
tar -c a | try docker cp - "$BOX:/etc"
try docker exec "$BOX" sh -c 'cat /copied /dir/d/e/f /etc/a; ls /dir/d/e; stat -c "%u %a %s" /copied'
try docker cp "$BOX:/made" made
cat made
try docker cp "$BOX:/dir" out
find out | sort
readlink out/l
try docker cp "$BOX:/nothing" x 2>&1
docker diff "$BOX" | sort
try docker commit -c 'ENV Q=9' "$BOX" "image-$RUNTIME" | wc -l
run --rm "image-$RUNTIME" sh -c 'exec 2>&1; cat /made /copied; ls /dir; echo $Q; ls /bin/xz; stat -c %a /etc/group'
docker export "$BOX" | tar -t | grep -E '^(made|copied|dir/.*)$' | sort
try docker rm -f "$BOX"
docker rmi "image-$RUNTIME" >/dev/null
