#include "/dev/zero" /* Tries to make the compiler read without end. */
