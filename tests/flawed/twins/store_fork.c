/*
 * store_fork PORT: echoes lines, one process for each connection, and records them in store.log: each child writes to
 * a pipe, a recorder process reads it. The good twin of every flaw of a store in C.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int listener, ends[2], lock;
static pid_t recorder;
static volatile sig_atomic_t stopping;

static void reap(int number)
{
    int saved = errno;
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

static void pause_shortly(void)
{
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
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

static void record(void)
{
    char buffer[4096];
    ssize_t count;
    int file = open("store.log", O_WRONLY | O_CREAT | O_APPEND, 0644);
    signal(SIGTERM, SIG_IGN); /* it ends when the last writer has */
    signal(SIGCHLD, SIG_DFL);
    close(ends[1]);
    while ((count = read(ends[0], buffer, sizeof buffer)) != 0)
        if (count > 0)
            write_all(file, buffer, (size_t)count);
    _exit(0);
}

static void locking(short type)
{
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
    while (fcntl(lock, F_SETLKW, &whole) < 0 && errno == EINTR)
        ;
}

static int store(const char *line, size_t count)
{
    locking(F_WRLCK); /* a write of more than PIPE_BUF bytes is not atomic (pipe(7)) */
    int failed = write_all(ends[1], line, count);
    if (!failed && line[count - 1] != '\n')
        failed = write_all(ends[1], "\n", 1);
    locking(F_UNLCK);
    return failed;
}

static void echo(int fd)
{
    FILE *lines = fdopen(fd, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t count;
    while ((count = getline(&line, &room, lines)) > 0)
        if (store(line, (size_t)count) < 0 || write_all(fd, line, (size_t)count) < 0)
            break;
    fclose(lines);
}

static void serve(int fd)
{
    pid_t child;
    while ((child = fork()) < 0 && !stopping)
        pause_shortly(); /* EAGAIN: there is no room until a child has ended */
    if (child == 0) {
        signal(SIGTERM, SIG_DFL);
        signal(SIGCHLD, SIG_DFL);
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
    close(ends[1]); /* the recorder sees end of file when the last child has ended, too */
    while (waitpid(recorder, NULL, 0) < 0 && errno == EINTR)
        ;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    lock = open("store.lock", O_RDWR | O_CREAT, 0644);
    if (lock < 0 || pipe(ends) < 0 || (recorder = fork()) < 0) {
        perror("server");
        return 1;
    }
    if (recorder == 0)
        record();
    close(ends[0]);
    handle(SIGCHLD, reap);
    handle(SIGTERM, stop);
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
