/*
 * relay FROM TO DELAY: a network of our own between one client and the server at 127.0.0.1.
 *
 * It listens on 127.0.0.1, port FROM, takes one client, connects to port TO, and holds back what comes from either side
 * for DELAY microseconds: the round trip is twice that. Nothing else is like a slow network: it takes what it is given
 * at once, as much as memory holds, so no window limits how much is under way, and it hands on in the order of arrival.
 * A FIN is held back like the bytes before it.
 *
 * It measures the conversation: from accept(2) until the last byte has been handed to the client. What a client needs
 * to start is not in it. When both sides have ended it prints one line of JSON, and ends.
 *
 * ppoll(2) waits in nanoseconds; poll(2) and epoll_wait(2) would round each delay up to a millisecond.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

struct piece {
    struct piece *next;
    int64_t due;
    size_t sent, length; /* length 0: the FIN */
    char bytes[];
};

struct direction {
    int from, to;
    struct piece *first, **last;
    bool read_all, sent_all, stuck; /* stuck: the receiver has no room now */
    uint64_t bytes;
    int64_t last_sent;
};

static void die(const char *what)
{
    fprintf(stderr, "relay: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static int number(const char *text, int most)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < 0 || value > most) {
        fprintf(stderr, "relay: %s is not a number from 0 to %d\n", text, most);
        exit(2);
    }
    return (int)value;
}

/* A connected socket does not wait for the acknowledgement of one piece before it sends the next (Nagle). */
static void hurry(int connection)
{
    int on = 1;
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int accept_one(int port)
{
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((in_port_t)port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 1) < 0)
        die("listen");
    int connection = accept(listener, NULL, NULL);
    if (connection < 0)
        die("accept");
    close(listener);
    hurry(connection);
    return connection;
}

static int connect_to(int port)
{
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((in_port_t)port);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");
    hurry(connection);
    return connection;
}

static void take(struct direction *d, int64_t delay)
{
    static char buffer[65536];
    ssize_t length = recv(d->from, buffer, sizeof buffer, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length < 0)
        die("recv");
    struct piece *p = malloc(sizeof *p + (size_t)length);
    if (!p)
        die("malloc");
    *p = (struct piece){.due = now() + delay, .length = (size_t)length};
    memcpy(p->bytes, buffer, (size_t)length);
    *d->last = p;
    d->last = &p->next;
    d->read_all = length == 0;
}

/* Hand on what is due. */
static void give(struct direction *d)
{
    d->stuck = false;
    for (struct piece *p; (p = d->first) && p->due <= now();) {
        while (p->sent < p->length) {
            ssize_t n = send(d->to, p->bytes + p->sent, p->length - p->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                d->stuck = true;
                return;
            }
            if (n < 0)
                die("send");
            p->sent += (size_t)n;
            d->bytes += (uint64_t)n;
            d->last_sent = now();
        }
        if (p->length == 0) {
            shutdown(d->to, SHUT_WR);
            d->sent_all = true;
        }
        d->first = p->next;
        if (!d->first)
            d->last = &d->first;
        free(p);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("relay: FROM TO DELAY: two ports, and microseconds\n", stderr);
        return 2;
    }
    int from = number(argv[1], 65535), to = number(argv[2], 65535);
    int64_t delay = number(argv[3], 10000000) * INT64_C(1000);
    prctl(PR_SET_TIMERSLACK, 1UL); /* a wait may end 50 us late otherwise */
    int client = accept_one(from);
    int64_t start = now();
    int server = connect_to(to);
    struct direction up = {.from = client, .to = server, .last = &up.first};
    struct direction down = {.from = server, .to = client, .last = &down.first};
    struct direction *both[] = {&up, &down};

    while (!down.sent_all || !up.sent_all) {
        struct pollfd fds[4];
        nfds_t n = 0;
        int64_t due = INT64_MAX;
        for (int i = 0; i < 2; i++) {
            struct direction *d = both[i];
            if (!d->read_all)
                fds[n++] = (struct pollfd){.fd = d->from, .events = POLLIN};
            if (d->stuck)
                fds[n++] = (struct pollfd){.fd = d->to, .events = POLLOUT};
            else if (d->first && d->first->due < due)
                due = d->first->due;
        }
        int64_t left = due == INT64_MAX ? 0 : due - now();
        left = left < 0 ? 0 : left;
        struct timespec wait = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
        if (ppoll(fds, n, due == INT64_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR)
            die("ppoll");
        for (int i = 0; i < 2; i++) {
            if (!both[i]->read_all)
                take(both[i], delay);
            give(both[i]);
        }
    }
    printf("{\"seconds\": %.6f, \"up\": %" PRIu64 ", \"down\": %" PRIu64 "}\n",
           (double)(down.last_sent - start) / 1e9, up.bytes, down.bytes);
    return 0;
}
