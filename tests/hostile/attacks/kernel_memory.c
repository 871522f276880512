/* Tries to take memory that no process is seen to have: full pipes and sockets, in many processes. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fill(int fd)
{
    static char data[1 << 16];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, data, sizeof data) > 0)
        ;
}

int main(void)
{
    for (int number = 0; number < 100; number++)
        if (fork() == 0) {
            int pair[2];
            while (pipe(pair) == 0)
                fill(pair[1]);
            for (int more = 0; more < 100; more++)
                close(3 + more);
            while (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0)
                fill(pair[0]), fill(pair[1]);
            for (;;)
                pause();
        }
    for (;;)
        pause();
}
