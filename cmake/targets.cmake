# Every module is a folder of small files: x.c, x.h and x_test.c beside them. These functions turn
# a folder into a library and its *_test.c files into ctest tests, so that adding a file needs no
# edit here.

# Sanitizer flags go to our own code only: a stock broker loads the plugin.
function(neap_sanitize target)
  if(NEAP_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${NEAP_SANITIZE} -fno-sanitize-recover=all
                                             -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=${NEAP_SANITIZE})
  endif()
endfunction()

# neap_library(NAME DIR sources... ): a static library of the given sources.
function(neap_library name)
  add_library(${name} STATIC ${ARGN})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  neap_sanitize(${name})
endfunction()

function(neap_program name)
  add_executable(${name} ${ARGN})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  neap_sanitize(${name})
endfunction()

# neap_unit_tests(DIR [THREADS] libs...): one cmocka program per DIR/*_test.c, named <dir>.<file>.
# THREADS: what it tests runs in several threads; these are what the tsan preset is for.
function(neap_unit_tests dir)
  cmake_parse_arguments(arg "THREADS" "" "" ${ARGN})
  set(labels unit)
  if(arg_THREADS)
    list(APPEND labels threads)
  endif()
  file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.c)
  foreach(source ${tests})
    get_filename_component(stem ${source} NAME_WE)
    set(target ${dir}_${stem})
    add_executable(${target} ${source})
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
    target_link_libraries(${target} PRIVATE ${arg_UNPARSED_ARGUMENTS} PkgConfig::CMOCKA)
    target_compile_definitions(${target} PRIVATE NEAP_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
    neap_sanitize(${target})
    add_test(NAME ${dir}.${stem} COMMAND ${target})
    set_tests_properties(${dir}.${stem} PROPERTIES TIMEOUT 300 LABELS "${labels}")
  endforeach()
endfunction()

# neap_sources(VAR [EXCLUDE regex...]): this folder's *.c less its tests and what EXCLUDE matches.
function(neap_sources var)
  cmake_parse_arguments(arg "" "" "EXCLUDE" ${ARGN})
  file(GLOB found CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  list(FILTER found EXCLUDE REGEX "_test\\.c$")
  foreach(regex ${arg_EXCLUDE})
    list(FILTER found EXCLUDE REGEX "${regex}")
  endforeach()
  set(${var} ${found} PARENT_SCOPE)
endfunction()
