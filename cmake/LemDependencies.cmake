# Third-party libraries, all from the system's packages (scripts/packages.txt).
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(CURL REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tl-expected REQUIRED)
find_package(prometheus-cpp REQUIRED COMPONENTS core)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET libzip)
pkg_check_modules(LIBEDIT REQUIRED IMPORTED_TARGET libedit)
find_path(LEM_BOOST_INCLUDE boost/beast.hpp REQUIRED)
find_path(LEM_TOMLPLUSPLUS_INCLUDE toml++/toml.h REQUIRED)

# Headers only: Asio, Beast and JSON. Included from few .cc files because they are dear to compile.
add_library(lem_boost INTERFACE)
target_include_directories(lem_boost SYSTEM INTERFACE ${LEM_BOOST_INCLUDE})

if(LEM_BUILD_TESTS)
  find_package(GTest REQUIRED)
  # The oracle of the pre-tokenisers' expressions.
  pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
endif()
