// Some builds of MinGW-w64 (MSYS2's) replace an argument such as *.txt by the names of the files that
// match it, before wmain sees it. With this variable a program gets its arguments as they were typed,
// as it does with MSVC. https://github.com/mingw-w64/mingw-w64/blob/master/mingw-w64-crt/crt/wildcard.c
extern "C" {
int _dowildcard = 0; // NOLINT: the C runtime's name for its variable
}
