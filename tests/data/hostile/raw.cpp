auto a = R"x(
)y" ; template<<<>>> class operator"" _a () {
