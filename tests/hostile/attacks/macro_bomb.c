/* Tries to make the compiler write 10^12 words. */
#define A(x) x, x, x, x, x, x, x, x, x, x
#define B(x) A(x), A(x), A(x), A(x), A(x), A(x), A(x), A(x), A(x), A(x)
#define C(x) B(x), B(x), B(x), B(x), B(x), B(x), B(x), B(x), B(x), B(x)
#define D(x) C(x), C(x), C(x), C(x), C(x), C(x), C(x), C(x), C(x), C(x)
#define E(x) D(x), D(x), D(x), D(x), D(x), D(x), D(x), D(x), D(x), D(x)
#define F(x) E(x), E(x), E(x), E(x), E(x), E(x), E(x), E(x), E(x), E(x)
#define G(x) F(F(x))
int words[] = {G(1)};

int main(void)
{
    return words[0];
}
