/* Every server model in C, echoing, on port 9190: only to be recorded by record.py. cc -O1 -pthread server.c */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int listener;

/* Echo what is there; 0 at the end of the conversation. */
static int step(int fd) {
    char bytes[4096];
    ssize_t count = read(fd, bytes, sizeof bytes);
    return count > 0 && write(fd, bytes, count) == count;
}

static void talk(int fd) {
    while (step(fd)) {
    }
    close(fd);
}

static int next(void) {
    int fd;
    do {
        fd = accept(listener, NULL, NULL);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static void reap(int number) {
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

static void serve_fork(void) {
    struct sigaction action = {.sa_handler = reap};
    sigaction(SIGCHLD, &action, NULL);
    for (;;) {
        int fd = next();
        if (fork() == 0) {
            close(listener);
            talk(fd);
            _exit(0);
        }
        close(fd);
    }
}

static void serve_prefork(void) {
    for (int i = 0; i < 3; i++) {
        if (fork() == 0) {
            for (;;) {
                talk(next());
            }
        }
    }
    for (;;) {
        wait(NULL);
    }
}

static void *thread(void *fd) {
    talk((int)(long)fd);
    return NULL;
}

static void serve_thread(void) {
    for (;;) {
        pthread_t made;
        pthread_create(&made, NULL, thread, (void *)(long)next());
        pthread_detach(made);
    }
}

static void serve_select(void) {
    fd_set all, ready;
    FD_ZERO(&all);
    FD_SET(listener, &all);
    for (;;) {
        ready = all;
        select(64, &ready, NULL, NULL, NULL);
        for (int fd = 0; fd < 64; fd++) {
            if (!FD_ISSET(fd, &ready)) {
                continue;
            }
            if (fd == listener) {
                int made = next(); /* FD_SET may evaluate its argument twice */
                FD_SET(made, &all);
            } else if (!step(fd)) {
                FD_CLR(fd, &all);
                close(fd);
            }
        }
    }
}

static void serve_poll(void) {
    struct pollfd all[64] = {{listener, POLLIN, 0}};
    int count = 1;
    for (;;) {
        poll(all, count, -1);
        for (int i = count - 1; i > 0; i--) {
            if (all[i].revents && !step(all[i].fd)) {
                close(all[i].fd);
                all[i] = all[--count];
            }
        }
        if (all[0].revents) {
            all[count++] = (struct pollfd){next(), POLLIN, 0};
        }
    }
}

static void serve_epoll(void) {
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event one = {.events = EPOLLIN, .data.fd = listener}, ready[16];
    epoll_ctl(set, EPOLL_CTL_ADD, listener, &one);
    for (;;) {
        int count = epoll_wait(set, ready, 16, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener) {
                one.data.fd = next();
                epoll_ctl(set, EPOLL_CTL_ADD, one.data.fd, &one);
            } else if (!step(fd)) {
                close(fd);
            }
        }
    }
}

static void serve_iterative(void) {
    for (;;) {
        talk(next());
    }
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(9190)};
    int yes = 1;
    const char *model = count > 1 ? words[1] : "fork";
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) {
        return 1;
    }
    static const struct {
        const char *name;
        void (*serve)(void);
    } models[] = {{"fork", serve_fork},     {"prefork", serve_prefork}, {"thread", serve_thread},
                  {"select", serve_select}, {"poll", serve_poll},       {"epoll", serve_epoll},
                  {"iterative", serve_iterative}};
    for (unsigned i = 0; i < sizeof models / sizeof *models; i++) {
        if (!strcmp(model, models[i].name)) {
            models[i].serve();
        }
    }
    return 2;
}
