/* Tries to take all processes: every one forks until it cannot, and stays. */
#include <unistd.h>

int main(void)
{
    for (;;)
        if (fork() < 0)
            pause();
}
