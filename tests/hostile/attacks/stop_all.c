/* Tries to stop whoever comes to clean up as its user: orphans call kill(-1, SIGSTOP) for ever. */
#include <signal.h>
#include <unistd.h>

int main(void)
{
    if (fork() == 0) {
        setsid();
        usleep(100 * 1000);
        for (;;)
            kill(-1, SIGSTOP);
    }
    return 3;
}
