add_custom_target(lem_tests)
add_custom_target(lem_fuzzers)

# lem_module(NAME base SOURCES a.cc ... DEPS lem_x ... TESTS a_test.cc ... [TEST_DEPS ...] [TEST_LABEL unit|model])
# One static library lem_<name> a module, one test program lem_<name>_test for the tests that sit beside the code.
function(lem_module)
  cmake_parse_arguments(ARG "" "NAME;TEST_LABEL;TEST_TIMEOUT_S" "SOURCES;DEPS;TESTS;TEST_DEPS" ${ARGN})
  add_library(lem_${ARG_NAME} STATIC ${ARG_SOURCES})
  target_link_libraries(lem_${ARG_NAME} PUBLIC lem_options ${ARG_DEPS})
  if(LEM_BUILD_TESTS AND ARG_TESTS)
    lem_test(NAME lem_${ARG_NAME}_test SOURCES ${ARG_TESTS} DEPS lem_${ARG_NAME} ${ARG_TEST_DEPS}
             LABEL ${ARG_TEST_LABEL} TIMEOUT_S ${ARG_TEST_TIMEOUT_S})
  endif()
endfunction()

# lem_test(NAME x_test SOURCES ... DEPS ... [LABEL unit] [TIMEOUT_S 300]): a GoogleTest program known to ctest.
# The target lem_tests builds all of them.
function(lem_test)
  cmake_parse_arguments(ARG "" "NAME;LABEL;TIMEOUT_S" "SOURCES;DEPS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(NOT ARG_TIMEOUT_S)
    set(ARG_TIMEOUT_S 300)
  endif()
  add_executable(${ARG_NAME} ${ARG_SOURCES})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest GTest::gtest_main)
  # Tests read checked-in data (golden results, corpora) relative to the source tree.
  target_compile_definitions(${ARG_NAME} PRIVATE LEM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME})
  add_dependencies(lem_tests ${ARG_NAME})
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT_S})
endfunction()

# lem_fuzzer(NAME gguf DEPS lem_formats): libFuzzer program <name>_fuzzer from fuzz/<name>_fuzzer.cc. The target
# lem_fuzzers builds all of them, and of the modules only what they read with.
function(lem_fuzzer)
  cmake_parse_arguments(ARG "" "NAME" "DEPS" ${ARGN})
  add_executable(${ARG_NAME}_fuzzer ${ARG_NAME}_fuzzer.cc)
  target_link_libraries(${ARG_NAME}_fuzzer PRIVATE lem_options ${ARG_DEPS})
  target_link_options(${ARG_NAME}_fuzzer PRIVATE -fsanitize=fuzzer)
  add_dependencies(lem_fuzzers ${ARG_NAME}_fuzzer)
endfunction()
