/* epoll PORT: echoes, one process for all connections. The good twin of every flaw of an epoll server in C. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM 4096

/* What was read of a connection and not yet written back. While there is some, nothing more is read. */
struct client {
    int fd;
    size_t begin, end;
    char bytes[ROOM];
};

static int poller;
static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

static void watch(int change, struct client *client, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    epoll_ctl(poller, change, client->fd, &event);
}

static void drop(struct client *client)
{
    close(client->fd);
    free(client);
}

/* 1: go on; 0: the kernel takes or has no more now; -1: the conversation is over. */
static int step(struct client *client)
{
    ssize_t count;
    if (client->begin < client->end) {
        count = send(client->fd, client->bytes + client->begin, client->end - client->begin, MSG_NOSIGNAL);
        if (count > 0)
            client->begin += (size_t)count;
    } else {
        count = recv(client->fd, client->bytes, ROOM, 0);
        if (count == 0)
            return -1;
        client->begin = 0;
        client->end = count > 0 ? (size_t)count : 0;
    }
    if (count < 0 && errno != EINTR)
        return errno == EAGAIN ? 0 : -1;
    return 1;
}

static void talk(struct client *client)
{
    int more = 1;
    for (int turns = 0; turns < 16 && more > 0; turns++) /* then the others have their turn */
        more = step(client);
    if (more < 0)
        drop(client);
    else
        watch(EPOLL_CTL_MOD, client, client->begin < client->end ? EPOLLOUT : EPOLLIN);
}

static void take(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd >= 0) {
        struct client *client = malloc(sizeof *client);
        if (client == NULL) {
            close(fd);
            return;
        }
        client->fd = fd;
        client->begin = client->end = 0;
        watch(EPOLL_CTL_ADD, client, EPOLLIN);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
        nanosleep(&pause, NULL); /* the client waits in the backlog; at once again would spin */
    }
}

int main(int argc, char **argv)
{
    int on = 1;
    struct client gate = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    struct sigaction action = {.sa_handler = stop};
    struct epoll_event ready[64];
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    address.sin_port = htons((in_port_t)atoi(argv[1]));
    setsockopt(gate.fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(gate.fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(gate.fd, 128) < 0) {
        perror("server");
        return 1;
    }
    sigaction(SIGTERM, &action, NULL);
    poller = epoll_create1(EPOLL_CLOEXEC);
    watch(EPOLL_CTL_ADD, &gate, EPOLLIN);
    while (!stopping) {
        int count = epoll_wait(poller, ready, 64, 1000);
        for (int i = 0; i < count; i++) {
            struct client *client = ready[i].data.ptr;
            if (client == &gate)
                take(gate.fd);
            else
                talk(client);
        }
    }
    return 0;
}
