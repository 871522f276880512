// Each instance needs two others that nobody has needed yet.
template <int depth, unsigned long long path> struct Bomb {
    static const int value = Bomb<depth - 1, path * 2>::value + Bomb<depth - 1, path * 2 + 1>::value;
};
template <unsigned long long path> struct Bomb<0, path> {
    static const int value = 1;
};

int main()
{
    return Bomb<60, 1>::value;
}
