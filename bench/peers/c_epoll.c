/*
 * c-epoll PORT: one process, one thread, any number of clients: level-triggered epoll(7), sockets that do not block.
 *
 * A ready listener is accepted from until it has nobody left. A ready client is read once into the buffer that all
 * share, and answered at once; most of the time the kernel takes the whole answer. If not, the rest is kept for this
 * client, and until it has gone nothing more is read from it: backpressure, at most 64 KiB for each client.
 *
 * Sources: TLPI 63.4; epoll(7).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFER 65536
#define EVENTS 512

struct client {
    int fd;
    char *rest; /* what could not be sent yet, or NULL */
    size_t sent, length;
};

static int epoll, listener;

static void close_client(struct client *c)
{
    close(c->fd); /* epoll forgets it as well */
    free(c->rest);
    free(c);
}

static void watch(struct client *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &event);
}

static void accept_all(void)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                usleep(10000); /* the client waits in the backlog; asking at once again would spin */
            if (errno != ECONNABORTED && errno != EINTR)
                return;
            continue;
        }
        struct client *c = calloc(1, sizeof *c);
        if (!c) {
            close(fd);
            return;
        }
        c->fd = fd;
        watch(c, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* Read once, and send it back. False: the client has gone. */
static bool echo(struct client *c)
{
    static char buffer[BUFFER];
    ssize_t length = recv(c->fd, buffer, sizeof buffer, 0);
    if (length <= 0)
        return length < 0 && (errno == EAGAIN || errno == EINTR);
    ssize_t sent = send(c->fd, buffer, (size_t)length, 0);
    if (sent < 0 && errno != EAGAIN)
        return false;
    sent = sent < 0 ? 0 : sent;
    if (sent < length) {
        c->sent = 0;
        c->length = (size_t)(length - sent);
        c->rest = malloc(c->length);
        if (!c->rest)
            return false;
        memcpy(c->rest, buffer + sent, c->length);
        watch(c, EPOLL_CTL_MOD, EPOLLOUT);
    }
    return true;
}

/* Send what is left. False: the client has gone. */
static bool send_rest(struct client *c)
{
    ssize_t sent = send(c->fd, c->rest + c->sent, c->length - c->sent, 0);
    if (sent < 0)
        return errno == EAGAIN;
    c->sent += (size_t)sent;
    if (c->sent == c->length) {
        free(c->rest);
        c->rest = NULL;
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct epoll_event ready[EVENTS];
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    address.sin_port = htons((in_port_t)(argc == 2 ? atoi(argv[1]) : 0));
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("c-epoll");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);

    for (;;) {
        int n = epoll_wait(epoll, ready, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            if (!c)
                accept_all();
            else if (!(c->rest ? send_rest(c) : echo(c)))
                close_client(c);
        }
    }
}
