/* What servers seldom do, one after the other: only to be recorded by record.py. cc -O1 -pthread odd.c; run as root. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void nothing(int number) { (void)number; }

static void *become(void *path) {
    execl(path, "replaced", "from-a-thread", (char *)NULL);
    return NULL;
}

/* A process with the number of one that has gone. */
static void again(pid_t pid) {
    FILE *file = fopen("/proc/sys/kernel/ns_last_pid", "w");
    if (file) {
        fprintf(file, "%d", pid - 1);
        fclose(file);
    }
    if (fork() == 0) {
        _exit(4);
    }
    wait(NULL);
}

static void pass(void) {
    int pair[2], carried = dup(0);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    char space[CMSG_SPACE(sizeof carried)] = {0}, byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof carried);
    memcpy(CMSG_DATA(head), &carried, sizeof carried);
    sendmsg(pair[0], &message, 0);
    close(carried);
    recvmsg(pair[1], &message, 0);
    close_range(pair[0], ~0U, 0);
}

int main(int count, char **words) {
    if (count > 1) {
        return 5; /* this is what a thread or a vfork has become */
    }
    pid_t pid = fork();
    if (pid == 0) {
        _exit(3);
    }
    waitpid(pid, NULL, 0);
    again(pid);
    if (vfork() == 0) {
        execl(words[0], "replaced", "from-a-vfork", (char *)NULL);
        _exit(9);
    }
    wait(NULL);
    struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC)) {
        return 1;
    }
    char byte;
    pid = fork();
    if (pid == 0) { /* sleeps in a read that a signal interrupts and that is begun anew, then is stopped and killed */
        close(ends[1]);
        if (read(ends[0], &byte, 1) == 1) {
            pause();
        }
        _exit(0);
    }
    usleep(50000);
    kill(pid, SIGALRM);
    usleep(50000);
    if (write(ends[1], "y", 1) != 1) {
        return 1;
    }
    usleep(50000);
    kill(pid, SIGSTOP);
    waitpid(pid, NULL, WUNTRACED);
    kill(pid, SIGCONT);
    kill(pid, SIGKILL);
    siginfo_t seen;
    waitid(P_PID, pid, &seen, WEXITED | WNOWAIT);
    waitid(P_PID, pid, &seen, WEXITED);
    dup2(ends[0], 40);
    fcntl(40, F_SETFD, FD_CLOEXEC);
    pass();
    signal(SIGCHLD, SIG_IGN);
    if (fork() == 0) {
        _exit(6); /* nobody waits, and no zombie stays */
    }
    wait(NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, become, words[0]);
    pthread_join(thread, NULL);
    return 8;
}
