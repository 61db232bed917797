# Generates a C project of 50 files with a library, builds it with make, runs it, changes one file, builds again.
exec 2>&1
cd /job && mkdir project && cd project || exit 1
for i in $(seq 1 50); do
    next=$((i % 50 + 1))
    cat >part$i.c <<END
#include "project.h"
#include <stdio.h>
#include <string.h>
struct node$i { int value; struct node$i *next; };
static int helper$i(int x) { char text[32]; snprintf(text, sizeof text, "%d-$i", x); return (int)strlen(text); }
int part$i(int depth) { struct node$i n = { $i, 0 }; return depth <= 0 ? helper$i(n.value) : helper$i(depth) + part$next(depth - 1); }
END
    echo "int part$i(int depth);" >>project.h
done
echo '#include "project.h"
#include <stdio.h>
int main(void) { printf("%d %d\n", part1(200), part25(7)); return 0; }' >main.c
cat >Makefile <<'END'
objects = $(patsubst %.c,%.o,$(filter-out main.c,$(wildcard *.c)))
program: main.o libproject.a
	$(CC) $(CFLAGS) -o $@ main.o -L. -lproject
libproject.a: $(objects)
	$(AR) rcs $@ $(sort $^)
%.o: %.c project.h
	$(CC) $(CFLAGS) -c -o $@ $<
END
make -s -j2 CFLAGS=-O1; echo "status $?"
./program; ls *.o | wc -l; nm libproject.a | grep -c ' T '
sed -i 's/-25"/-25xyz"/' part25.c
make -j2 CFLAGS=-O1 | sort; ./program; make -q; echo $?; make nothing 2>&1 | tail -n 1
