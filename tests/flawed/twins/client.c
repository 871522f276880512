/* client HOST PORT: the parent copies the socket to standard output, the child standard input to the socket.
 * The good twin of every flaw of a client in C. */
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* 0 at the end of the input, -1 when one of the two has gone. */
static int copy(int from, int to)
{
    char buffer[4096];
    for (;;) {
        ssize_t count = read(from, buffer, sizeof buffer);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return (int)count;
        if (write_all(to, buffer, (size_t)count) < 0)
            return -1;
    }
}

static int connect_to(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all, *each;
    int fd = -1, error = getaddrinfo(host, port, &hints, &all);
    if (error != 0) {
        fprintf(stderr, "client: %s: %s\n", host, gai_strerror(error));
        exit(1);
    }
    for (each = all; each != NULL; each = each->ai_next) {
        fd = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
        if (fd >= 0 && connect(fd, each->ai_addr, each->ai_addrlen) == 0)
            break;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(all);
    if (fd < 0) {
        fprintf(stderr, "client: %s port %s: %s\n", host, port, strerror(errno));
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s HOST PORT\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int fd = connect_to(argv[1], argv[2]);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        int ended = copy(STDIN_FILENO, fd);
        shutdown(fd, SHUT_WR); /* FIN now, although the parent has the socket, too */
        _exit(ended == 0 ? 0 : 1);
    }
    int ended = copy(fd, STDOUT_FILENO);
    int status;
    kill(child, SIGTERM); /* it may sleep in a read of standard input; does nothing if it has ended */
    waitpid(child, &status, 0);
    if (ended == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    fprintf(stderr, "client: the server has closed the connection\n");
    return 1;
}
