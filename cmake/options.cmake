# What can be chosen when configuring, and the flags every target gets.

option(NEAP_CORE_ONLY "Build and test only the I/O-free core: no Paho, curl, libmicrohttpd or broker" OFF)
option(NEAP_FUZZ "Build the fuzzers (needs clang)" OFF)
set(NEAP_SANITIZE "" CACHE STRING "Sanitizers for everything but the broker plugin, e.g. address,undefined")

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)

add_compile_definitions(_POSIX_C_SOURCE=200809L _DEFAULT_SOURCE NEAP_VERSION="${PROJECT_VERSION}")
add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
                    -Wstrict-prototypes -Wmissing-prototypes -Wvla -fno-common)

# Asserts guard invariants of other people's data: they stay on in every build type.
foreach(type RELEASE RELWITHDEBINFO MINSIZEREL)
  string(REPLACE "-DNDEBUG" "" CMAKE_C_FLAGS_${type} "${CMAKE_C_FLAGS_${type}}")
endforeach()

# Hardening; FORTIFY needs optimisation and does not go with sanitizers.
add_compile_options(-fstack-protector-strong)
add_link_options(-Wl,-z,relro -Wl,-z,now)
if(NOT NEAP_SANITIZE)
  add_compile_options($<$<NOT:$<CONFIG:Debug>>:-D_FORTIFY_SOURCE=2>)
endif()
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
