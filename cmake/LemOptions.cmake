# Build options, language level, warnings and sanitizers: one place for all targets.
option(LEM_BUILD_TESTS "Build unit tests" ON)
option(LEM_BUILD_FUZZERS "Build libFuzzer targets (needs clang)" OFF)
option(LEM_WERROR "Warnings are errors" ON)
set(LEM_SANITIZE "" CACHE STRING "Sanitizers for every target: e.g. 'address,undefined' or 'thread'")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(LEM_CCACHE ccache)
if(LEM_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LEM_CCACHE})
endif()

add_library(lem_options INTERFACE)
target_include_directories(lem_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(lem_options INTERFACE
  -Wall -Wextra -Wconversion -Wno-sign-conversion -Wno-missing-field-initializers -Wshadow -Wnon-virtual-dtor -fno-omit-frame-pointer
  # Numerics classes (ARCHITECTURE.md) fix the order and the rounding of every sum: the compiler may not fuse on its own.
  -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(lem_options INTERFACE -Wthread-safety -Wno-missing-designated-field-initializers)
  target_link_options(lem_options INTERFACE -fuse-ld=lld-19)
else()
  # GCC 12 warns of std::string's own code (its bug 105651).
  # Its own AVX-512 headers read variables that are not set, and GoogleTest's macros have an else of their own.
  target_compile_options(lem_options INTERFACE -Wno-restrict -Wno-maybe-uninitialized -Wno-uninitialized -Wno-dangling-else)
endif()
if(LEM_WERROR)
  target_compile_options(lem_options INTERFACE -Werror)
endif()
if(LEM_SANITIZE)
  target_compile_options(lem_options INTERFACE -fsanitize=${LEM_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(lem_options INTERFACE -fsanitize=${LEM_SANITIZE})
endif()
if(LEM_BUILD_FUZZERS)
  # Coverage instrumentation in every module; only fuzz targets link the fuzzer's main.
  target_compile_options(lem_options INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(lem_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
