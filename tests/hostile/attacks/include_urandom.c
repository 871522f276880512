#include "/dev/urandom" /* Tries to make the compiler read without end, and understand it. */
