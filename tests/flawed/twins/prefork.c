/* prefork PORT: echoes, by a pool of processes. The good twin of every flaw of a preforked server in C. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 8

static int listener;
static volatile sig_atomic_t stopping;

static void pause_shortly(void)
{
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
}

static void stop(int number)
{
    (void)number;
    stopping = 1;
    shutdown(listener, SHUT_RD); /* the socket is one for all: accept fails in each worker */
    alarm(2);
}

static void end_all(int number)
{
    (void)number;
    kill(0, SIGTERM); /* who still talks after two seconds */
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static int write_all(int fd, const char *data, size_t count)
{
    while (count > 0) {
        ssize_t written = write(fd, data, count);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        data += written;
        count -= (size_t)written;
    }
    return 0;
}

static void echo(int fd)
{
    char buffer[4096];
    for (;;) {
        ssize_t count = read(fd, buffer, sizeof buffer);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        if (write_all(fd, buffer, (size_t)count) < 0)
            break;
    }
    close(fd);
}

static void work(void)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            echo(fd);
        else if (errno == EINVAL)
            _exit(0); /* the parent has shut the listener down */
        else if (errno != EINTR && errno != ECONNABORTED)
            pause_shortly(); /* EMFILE: the client waits in the backlog; at once again would spin */
    }
}

static void start_worker(void)
{
    pid_t child;
    while ((child = fork()) < 0 && !stopping)
        pause_shortly(); /* EAGAIN: there is no room for another process */
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        work();
    }
}

static int open_listener(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    address.sin_port = htons((in_port_t)port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 128) < 0) {
        perror("server");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    handle(SIGTERM, stop);
    handle(SIGALRM, end_all);
    signal(SIGPIPE, SIG_IGN);
    listener = open_listener(atoi(argv[1]));
    for (int worker = 0; worker < WORKERS && !stopping; worker++)
        start_worker();
    for (;;) {
        pid_t ended = wait(NULL);
        if (ended > 0 && !stopping)
            start_worker();
        else if (ended < 0 && errno == ECHILD)
            return 0;
    }
}
