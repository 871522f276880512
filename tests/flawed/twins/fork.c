/* fork PORT: echoes, one process for each connection. The good twin of every flaw of a fork server in C. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int listener;
static volatile sig_atomic_t stopping;

static void pause_shortly(void)
{
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
}

static void reap(int number)
{
    int saved = errno; /* the interrupted code may be about to look at it */
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved;
}

static void stop(int number)
{
    (void)number;
    stopping = 1;
    shutdown(listener, SHUT_RD); /* accept fails from now on, also one that is about to begin */
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

static void serve(int fd)
{
    pid_t child;
    while ((child = fork()) < 0 && !stopping)
        pause_shortly(); /* EAGAIN: there is no room until a child has ended */
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        close(listener);
        echo(fd);
        _exit(0);
    }
    close(fd);
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

static void drain(void)
{
    close(listener);
    for (int tries = 0; tries < 100 && waitpid(-1, NULL, WNOHANG) == 0; tries++)
        pause_shortly();
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM); /* who still talks after two seconds */
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    handle(SIGCHLD, reap);
    handle(SIGTERM, stop);
    signal(SIGPIPE, SIG_IGN);
    listener = open_listener(atoi(argv[1]));
    while (!stopping) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            serve(fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_shortly(); /* the client waits in the backlog; at once again would spin */
        else if (errno != EINTR && errno != ECONNABORTED && !stopping)
            perror("accept");
    }
    drain();
    return 0;
}
