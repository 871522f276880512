/*
 * c-prefork PORT: sixteen processes, forked ahead, each of which accepts a client, echoes, and accepts the next.
 *
 * All of them sleep in accept(2) on the same listener; the kernel wakes one for each client, the one that has waited
 * longest. The parent only waits for workers that die, and replaces them. SIGTERM ends it, and so its workers.
 *
 * Sources: UNP vol. 1, 30.6; prctl(2).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 16

static void echo(int connection)
{
    static char buffer[65536];
    for (;;) {
        ssize_t length = read(connection, buffer, sizeof buffer);
        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            return;
        for (ssize_t sent = 0; sent < length;) {
            ssize_t n = write(connection, buffer + sent, (size_t)(length - sent));
            if (n < 0 && errno != EINTR)
                return;
            sent += n > 0 ? n : 0;
        }
    }
}

static void work(int listener)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* however the parent ends, no worker keeps the port */
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                usleep(10000); /* the client waits in the backlog; asking at once again would spin */
            continue;
        }
        echo(connection);
        shutdown(connection, SHUT_WR);
        close(connection);
    }
}

int main(int argc, char **argv)
{
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    address.sin_port = htons((in_port_t)(argc == 2 ? atoi(argv[1]) : 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("c-prefork");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);

    for (int workers = 0;; workers--) {
        for (; workers < WORKERS; workers++) {
            pid_t pid = fork();
            if (pid == 0)
                work(listener);
            if (pid < 0)
                sleep(1), workers--;
        }
        while (wait(NULL) < 0)
            ;
    }
}
