/* Tries to outrun the kill: an orphan that forks and ends, so that its number is never the one that was just read. */
#include <unistd.h>

int main(void)
{
    if (fork() > 0)
        return 3;
    setsid();
    for (;;)
        if (fork() > 0)
            _exit(0);
}
