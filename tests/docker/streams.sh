# Much output, much input, and both of a process that is started later.
run --rm image seq 1 20000 | md5sum
seq 1 20000 | run --rm -i image md5sum
