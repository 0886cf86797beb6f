#if A
int a() {
#else
int b() {
#elif
}
#define C(x \
