/* A program that is linked dynamically by gcc and statically by musl-gcc: threads, memory, signals, files. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static __thread int own;
static int together, arrived;
static sigjmp_buf back;

static void *work(void *arg)
{
    own = (int)(long)arg;
    for (int i = 0; i < 1000; i++) {
        pthread_mutex_lock(&mutex);
        together += own;
        pthread_mutex_unlock(&mutex);
    }
    pthread_mutex_lock(&mutex);
    arrived++;
    pthread_cond_broadcast(&condition);
    while (arrived < 8)
        pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
    return (void *)(long)(own * 2);
}

static void fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    siglongjmp(back, number * 100 + (info->si_addr == (void *)16));
}

int main(int argc, char **argv)
{
    printf("hello from %s, %d\n", argv[0], argc);
    pthread_t threads[8];
    long sum = 0;
    for (long i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 8; i++) {
        void *result;
        pthread_join(threads[i], &result);
        sum += (long)result;
    }
    printf("threads: %d %ld %d\n", together, sum, own);
    char *blocks[100];
    for (int i = 0; i < 100; i++) {
        blocks[i] = malloc((size_t)i * 5000 + 1);
        memset(blocks[i], i, (size_t)i * 5000 + 1);
    }
    int ones = 0;
    for (int i = 0; i < 100; i++) {
        ones += blocks[i][i * 5000] == i;
        free(blocks[i]);
    }
    printf("memory: %d\n", ones);
    struct sigaction action = {.sa_sigaction = fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
    int jumped = sigsetjmp(back, 1);
    if (!jumped)
        *(volatile int *)16 = 1;
    printf("fault: %d\n", jumped);
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        *shared = 42;
        execl("/bin/sh", "sh", "-c", "echo from a shell; exit 9", (char *)NULL);
        _exit(1);
    }
    int status;
    waitpid(child, &status, 0);
    printf("child: %d %d\n", *shared, WEXITSTATUS(status));
    FILE *pipe = popen("echo line one; echo line two", "r");
    char line[64];
    while (fgets(line, sizeof line, pipe))
        printf("read: %s", line);
    printf("pclose: %d\n", pclose(pipe));
    FILE *file = fopen("/nonexistent/x", "r");
    printf("fopen: %p %s\n", (void *)file, strerror(errno));
    double value = 0;
    sscanf("3.25e2", "%lf", &value);
    printf("%.3f %a\n", value, value);
    return 5;
}
