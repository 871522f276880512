/* Tries to kill everybody: kill(-1, SIGKILL). */
#include <signal.h>

int main(void)
{
    kill(-1, SIGKILL);
    return 3;
}
