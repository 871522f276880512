/* thread PORT: echoes, one thread for each connection. The good twin of every flaw of a threaded server in C. */
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

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
    shutdown(listener, SHUT_RD); /* accept fails from now on, also one that is about to begin */
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

static void *echo(void *argument)
{
    int fd = (int)(intptr_t)argument; /* the number itself: a variable of main's would change under us */
    char buffer[4096];
    for (;;) {
        ssize_t count = read(fd, buffer, sizeof buffer);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0 || write_all(fd, buffer, (size_t)count) < 0)
            break;
    }
    close(fd);
    return NULL;
}

static void serve(int fd)
{
    pthread_t thread;
    while (pthread_create(&thread, NULL, echo, (void *)(intptr_t)fd) != 0) {
        if (stopping) {
            close(fd);
            return;
        }
        pause_shortly(); /* EAGAIN: there is no room until a thread has ended */
    }
    pthread_detach(thread);
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
    struct sigaction action = {.sa_handler = stop};
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    listener = open_listener(atoi(argv[1]));
    while (!stopping) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0)
            serve(fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_shortly(); /* the client waits in the backlog; at once again would spin */
    }
    return 0;
}
