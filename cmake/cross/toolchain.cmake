# A Power host: big-endian, 32-bit (PERFVISOR_CROSS=powerpc) or 64-bit (ppc64), by Debian's cross
# compilers, its programs run by qemu-user. PERFVISOR_CROSS_LIBRARIES is where scripts/cross-libraries
# has put the libraries.
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES PERFVISOR_CROSS PERFVISOR_CROSS_LIBRARIES)

set(CMAKE_SYSTEM_NAME Linux)
if(PERFVISOR_CROSS STREQUAL "powerpc")
    set(CMAKE_SYSTEM_PROCESSOR ppc)
    set(cross_triple powerpc-linux-gnu)
    set(CMAKE_CROSSCOMPILING_EMULATOR qemu-ppc)
elseif(PERFVISOR_CROSS STREQUAL "ppc64")
    set(CMAKE_SYSTEM_PROCESSOR ppc64)
    set(cross_triple powerpc64-linux-gnu)
    set(CMAKE_CROSSCOMPILING_EMULATOR qemu-ppc64)
else()
    message(FATAL_ERROR "PERFVISOR_CROSS is \"${PERFVISOR_CROSS}\"; it takes powerpc or ppc64")
endif()
set(CMAKE_C_COMPILER ${cross_triple}-gcc)
set(CMAKE_CXX_COMPILER ${cross_triple}-g++)
set(CMAKE_OBJCOPY ${cross_triple}-objcopy)
set(CMAKE_C_FLAGS_INIT "-isystem ${PERFVISOR_CROSS_LIBRARIES}/include")
set(CMAKE_CXX_FLAGS_INIT "${CMAKE_C_FLAGS_INIT}")
# Static: the emulator then needs no libraries at run time.
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -L${PERFVISOR_CROSS_LIBRARIES}/lib")

set(CMAKE_FIND_ROOT_PATH ${PERFVISOR_CROSS_LIBRARIES} /usr/${cross_triple})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${PERFVISOR_CROSS_LIBRARIES}/lib/pkgconfig)
