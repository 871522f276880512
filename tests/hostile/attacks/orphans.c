/* Tries to survive: grandchildren in sessions of their own, which the first process leaves behind. */
#include <signal.h>
#include <unistd.h>

int main(void)
{
    for (int number = 0; number < 400; number++)
        if (fork() == 0) {
            setsid();
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            if (fork() == 0)
                for (;;)
                    pause();
            _exit(0);
        }
    return 3;
}
