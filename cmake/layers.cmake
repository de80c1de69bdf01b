# How a layer of the architecture becomes a library, the same for every layer.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)

add_library(perfvisor_options INTERFACE)
target_compile_options(
    perfvisor_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough
                                -Werror)
target_include_directories(perfvisor_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(perfvisor_options INTERFACE fmt::fmt Threads::Threads)
# 64-bit atomics of a 32-bit host.
if(CMAKE_SIZEOF_VOID_P EQUAL 4)
    target_link_libraries(perfvisor_options INTERFACE atomic)
endif()
if(PERFVISOR_SANITIZE)
    target_compile_options(perfvisor_options INTERFACE -fsanitize=address,undefined
                                                       -fno-sanitize-recover=all)
    target_link_options(perfvisor_options INTERFACE -fsanitize=address,undefined)
endif()
if(PERFVISOR_TSAN)
    target_compile_options(perfvisor_options INTERFACE -fsanitize=thread)
    target_link_options(perfvisor_options INTERFACE -fsanitize=thread)
endif()

# perfvisor_layer(NAME SOURCES ... [USES lower layers and libraries ...])
function(perfvisor_layer name)
    cmake_parse_arguments(LAYER "" "" "SOURCES;USES" ${ARGN})
    if(LAYER_SOURCES)
        add_library(perfvisor_${name} STATIC ${LAYER_SOURCES})
        target_link_libraries(perfvisor_${name} PUBLIC perfvisor_options ${LAYER_USES})
    else()
        add_library(perfvisor_${name} INTERFACE)
        target_link_libraries(perfvisor_${name} INTERFACE perfvisor_options ${LAYER_USES})
    endif()
endfunction()

# perfvisor_test(NAME SOURCES ... [USES ...] [TIMEOUT seconds] [LABELS guest]): one GoogleTest
# executable, each TEST a ctest test; in a cross build, the executable: starting the emulator for
# each would take most of the time.
function(perfvisor_test name)
    cmake_parse_arguments(T "" "TIMEOUT;LABELS" "SOURCES;USES" ${ARGN})
    if(NOT T_TIMEOUT)
        set(T_TIMEOUT 120)
    endif()
    add_executable(${name} ${T_SOURCES})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/support)
    target_link_libraries(${name} PRIVATE perfvisor_options ${T_USES} GTest::gtest_main GTest::gmock)
    # What is tested is optimised; the tests themselves build in half the time without.
    target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    if(CMAKE_CROSSCOMPILING)
        add_test(NAME ${name} COMMAND ${name})
        set_tests_properties(${name} PROPERTIES TIMEOUT 600)
        return()
    endif()
    gtest_discover_tests(${name} TEST_PREFIX "${name}." PROPERTIES TIMEOUT ${T_TIMEOUT} LABELS "${T_LABELS}"
                         DISCOVERY_TIMEOUT 60)
endfunction()
