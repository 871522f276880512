/* Tries to take all processes and all of the processor: every one forks for ever, in vain, too. */
#include <unistd.h>

int main(void)
{
    for (;;)
        fork();
}
