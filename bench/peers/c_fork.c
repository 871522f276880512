/*
 * c-fork PORT: one process for each connection, as a good C program does it.
 *
 * The parent accepts and forks; the child echoes until the client's FIN, with a buffer of 64 KiB. SIGCHLD's handler
 * waits for all children that have ended. The one thing that a C program has ahead of any other language here is its
 * size: fork(2) copies the page tables of about a hundred pages.
 *
 * Sources: UNP vol. 1, 5.10; TLPI 60.3; fork(2), waitpid(2).
 */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void reap(int number)
{
    int saved = errno; /* waitpid(2) would change what the interrupted code is about to look at */
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    errno = saved;
}

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

int main(int argc, char **argv)
{
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    address.sin_port = htons((in_port_t)(argc == 2 ? atoi(argv[1]) : 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("c-fork");
        return 1;
    }
    struct sigaction action = {.sa_handler = reap, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);
    signal(SIGPIPE, SIG_IGN);

    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                usleep(10000); /* the client waits in the backlog; asking at once again would spin */
            continue;
        }
        pid_t pid;
        while ((pid = fork()) < 0)
            usleep(10000); /* EAGAIN: a child has to end first */
        if (pid == 0) {
            close(listener);
            echo(connection);
            shutdown(connection, SHUT_WR);
            close(connection);
            _exit(0);
        }
        close(connection);
    }
}
