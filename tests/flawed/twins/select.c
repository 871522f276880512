/* select PORT: echoes, all clients in one process. The good twin of every flaw of a server with select in C. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
    int known;
    size_t count; /* bytes that were read and not yet written */
    char data[4096];
};

static struct client clients[FD_SETSIZE];

static int open_listener(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    address.sin_port = htons((in_port_t)port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0) {
        perror("server");
        exit(1);
    }
    return fd;
}

static void begin(int listener)
{
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            nanosleep(&pause, NULL); /* the client waits in the backlog; at once again would spin */
        return;
    }
    if (fd >= FD_SETSIZE) { /* no fd_set has room for it */
        close(fd);
        return;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    clients[fd].known = 1;
}

static void end(int fd)
{
    close(fd);
    clients[fd].known = 0;
    clients[fd].count = 0;
}

static void receive(int fd)
{
    ssize_t count = read(fd, clients[fd].data, sizeof clients[fd].data);
    if (count > 0)
        clients[fd].count = (size_t)count;
    else if (count == 0 || (errno != EINTR && errno != EAGAIN))
        end(fd);
}

static void answer(int fd)
{
    struct client *client = &clients[fd];
    ssize_t written = write(fd, client->data, client->count);
    if (written < 0) {
        if (errno != EINTR && errno != EAGAIN)
            end(fd);
        return;
    }
    client->count -= (size_t)written;
    memmove(client->data, client->data + written, client->count);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = open_listener(atoi(argv[1]));
    for (;;) {
        fd_set readable, writable;
        FD_ZERO(&readable);
        FD_ZERO(&writable);
        FD_SET(listener, &readable);
        for (int fd = 0; fd < FD_SETSIZE; fd++)
            if (clients[fd].known)
                FD_SET(fd, clients[fd].count ? &writable : &readable);
        if (select(FD_SETSIZE, &readable, &writable, NULL, NULL) < 0) {
            if (errno == EINTR)
                continue;
            perror("select");
            return 1;
        }
        for (int fd = 0; fd < FD_SETSIZE; fd++) {
            if (clients[fd].known && FD_ISSET(fd, &readable))
                receive(fd);
            else if (clients[fd].known && FD_ISSET(fd, &writable))
                answer(fd);
        }
        if (FD_ISSET(listener, &readable))
            begin(listener);
    }
}
