/* epoll_edge PORT: echoes, one process for all connections, edge-triggered. The good twin of such a server's flaws. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 64
#define MOST 64 /* clients at once; the others wait in the backlog */

struct client {
    int fd;
    size_t begin, end; /* what of the buffer is still to be sent */
    char buffer[4096];
};

static int listener, set, clients, accepting;
static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
    shutdown(listener, SHUT_RD); /* makes the listener ready, also for a wait that is about to begin */
    alarm(2);
}

static void give_up(int number)
{
    (void)number;
    _exit(0); /* who still talks after two seconds ends with us */
}

static void accept_again(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    accepting = epoll_ctl(set, EPOLL_CTL_ADD, listener, &event) == 0;
}

static void leave(struct client *client)
{
    close(client->fd);
    free(client);
    clients--;
    if (!accepting && !stopping)
        accept_again();
}

/* Reads only what it could send: whoever does not read is not read from, and costs one buffer. */
static void pump(struct client *client)
{
    for (;;) {
        ssize_t count;
        while (client->begin < client->end) {
            count = write(client->fd, client->buffer + client->begin, client->end - client->begin);
            if (count < 0 && errno == EINTR)
                continue;
            if (count < 0 && errno == EAGAIN)
                return;
            if (count < 0) {
                leave(client);
                return;
            }
            client->begin += (size_t)count;
        }
        count = read(client->fd, client->buffer, sizeof client->buffer);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0) {
            leave(client);
            return;
        }
        client->begin = 0;
        client->end = (size_t)count;
    }
}

static void welcome(int fd)
{
    struct client *client = malloc(sizeof *client);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    if (client != NULL) {
        client->fd = fd;
        client->begin = client->end = 0;
        if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0) {
            clients++;
            return;
        }
        free(client);
    }
    close(fd);
}

static void accept_one(void)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        welcome(fd);
    if (clients == MOST || stopping || (fd < 0 && (errno == EMFILE || errno == ENFILE)))
        accepting = epoll_ctl(set, EPOLL_CTL_DEL, listener, NULL) != 0; /* it would be ready again at once */
}

static void open_listener(int port)
{
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    address.sin_port = htons((in_port_t)port);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 128) < 0) {
        perror("server");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    signal(SIGTERM, stop);
    signal(SIGALRM, give_up);
    signal(SIGPIPE, SIG_IGN);
    set = epoll_create1(EPOLL_CLOEXEC);
    open_listener(atoi(argv[1]));
    accept_again();
    while (!stopping || clients > 0) {
        int ready = epoll_wait(set, events, EVENTS, -1);
        for (int each = 0; each < ready; each++) {
            if (events[each].data.ptr == NULL)
                accept_one();
            else
                pump(events[each].data.ptr);
        }
    }
    return 0;
}
