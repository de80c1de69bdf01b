# What people type. CMake with Ninja does the building; guest/build makes the guest software.
#
#   make          build/perfvisor
#   make demo     install what is missing, build all, boot Linux, show perf stat in it
#   make test     the same set-up, then all tests
#   make bench    speed, as ratios against qemu-system-ppc
#   make guest    build/guest/{vmlinux,rootfs.cpio.gz}
#   make lint     clang-format and clang-tidy: the first time half an hour of processor time, then
#                 what has changed since
#   make cross    the program, unit tests and Linux on big-endian Power hosts, under qemu-user
#   make sanitize the unit tests under the address and undefined-behaviour sanitizers
#   make tsan     the tests where threads matter under the thread sanitizer

BUILD ?= build
SANITIZE_BUILD ?= build-sanitize
TSAN_BUILD ?= build-tsan
JOBS ?= $(shell nproc)
CMAKE_FLAGS ?=
CTEST_FLAGS ?=
BENCH_FLAGS ?=

all: packages perfvisor

packages:
	@scripts/install-packages

$(BUILD)/build.ninja: | packages
	@cmake -G Ninja -B $(BUILD) $(CMAKE_FLAGS) . >$(BUILD)-configure.log 2>&1 || \
	    { cat $(BUILD)-configure.log; exit 1; }; mv $(BUILD)-configure.log $(BUILD)/configure.log

perfvisor benchmarks: $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j $(JOBS) $@

everything: $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j $(JOBS)

guest: packages
	@guest/build $(BUILD)/guest

demo: packages perfvisor guest
	@scripts/demo $(BUILD)

test: packages everything guest sanitize cross-quick
	@ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure $(CTEST_FLAGS)

# The layers' unit tests, run under the sanitizers too, optimised as little as they bear: that
# compiles in two thirds of the time. The translator is held by the fuzzer: what it emits is not
# instrumented, all around it is. Left out is a test that runs out of descriptors, which the
# sanitizer's own look at a vptr needs (it makes a pipe).
SANITIZED = isa_test core_test core_fpu_test core_perfmon engine_test midend_test page_map_test \
    fetch_map_test fuzz_test kvm_abi_test kvm_linux_test kvm_soft_test devices_test machine_test \
    vmm_test cli_test perfmon_reservation_test perfmon_processes_test perfmon_hostile_test \
    runtime_directory_test
empty :=
space := $(empty) $(empty)

sanitize: packages
	@cmake -G Ninja -B $(SANITIZE_BUILD) -DPERFVISOR_SANITIZE=ON -DPERFVISOR_BENCH=OFF \
	    -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1 -g1" $(CMAKE_FLAGS) . >/dev/null
	@ninja -C $(SANITIZE_BUILD) -j $(JOBS) $(SANITIZED)
	@ctest --test-dir $(SANITIZE_BUILD) -j $(JOBS) --output-on-failure \
	    -E TooFewDescriptors -R '^($(subst $(space),|,$(strip $(SANITIZED))))\.' $(CTEST_FLAGS)

# The tests of all layers with threads under the thread sanitizer, on both engines. Translated code
# is not seen by the sanitizer, all that is called from it is. Not part of `make test`: a build of its
# own, and some ten times the time of the tests that it runs. So of the tests that boot Linux those
# with several CPUs are taken, which have the threads. Left out: isa_test and machine_test, which have
# no threads, the comparisons of one core with other emulators and with itself, and U-Boot's.
THREADED = core_test core_perfmon engine_test translator_test kvm_soft_test vmm_test cli_test \
    perfmon_reservation_test perfmon_processes_test runtime_directory_test devices_test \
    system_test reservation_test
THREADED_LINUX = linux_test\..*(LinuxSmp|LinuxReservation)

tsan: packages guest
	@cmake -G Ninja -B $(TSAN_BUILD) -DPERFVISOR_TSAN=ON -DPERFVISOR_BENCH=OFF \
	    $(CMAKE_FLAGS) . >/dev/null
	@ninja -C $(TSAN_BUILD) -j $(JOBS) perfvisor $(THREADED) linux_test
	@ln -sfn $(abspath $(BUILD)/guest) $(TSAN_BUILD)/guest
	@ctest --test-dir $(TSAN_BUILD) -j $(JOBS) --output-on-failure \
	    -R '^(($(subst $(space),|,$(strip $(THREADED))))\.|$(THREADED_LINUX))' $(CTEST_FLAGS)

# Big-endian Power, 32-bit and 64-bit, run by qemu-user. `make test` has the layers that byte order
# and word size decide most about, instructions, CPU state, the host's side and the KVM ABI, with
# kvm/linux in them; `make cross` has the rest too, links the whole program and boots Linux with it,
# which takes minutes more. Left out are the tests of vmm/ and above, which start programs and boot
# guests, those of the translator, which is for x86-64, and the reservation's longest.
CROSS = powerpc ppc64
CROSS_BUILD ?= build-cross
CROSSED_QUICK = isa_test core_test core_perfmon perfmon_reservation_test perfmon_processes_test \
    runtime_directory_test kvm_abi_test kvm_linux_test
CROSSED = $(CROSSED_QUICK) core_fpu_test engine_test kvm_soft_test devices_test machine_test

cross-quick: $(CROSS:%=cross-quick-%)

cross-quick-%: cross-configure-%
	@$(call cross_test,$*,,$(CROSSED_QUICK))

cross: perfvisor guest $(CROSS:%=cross-all-%)
	@scripts/cross-guest $(BUILD) $(CROSS_BUILD)

cross-all-%: cross-configure-%
	@$(call cross_test,$*,perfvisor,$(CROSSED))

# $(call cross_test,HOST,TARGETS,TESTS)
cross_test = ninja -C $(CROSS_BUILD)/$1 -j $(JOBS) $2 $3 && \
    ctest --test-dir $(CROSS_BUILD)/$1 -j $(JOBS) --output-on-failure \
        -R '^($(subst $(space),|,$(strip $3)))$$' $(CTEST_FLAGS)

cross-configure-%: packages
	@scripts/cross-libraries $* $(CROSS_BUILD)/$*-libraries
	@cmake -G Ninja -B $(CROSS_BUILD)/$* -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/cross/toolchain.cmake \
	    -DPERFVISOR_CROSS=$* -DPERFVISOR_CROSS_LIBRARIES=$(abspath $(CROSS_BUILD))/$*-libraries \
	    -DPERFVISOR_BENCH=OFF -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O1 . >/dev/null

bench: packages perfvisor benchmarks guest
	@scripts/bench $(BUILD) $(BENCH_FLAGS)

lint: everything
	@scripts/lint $(BUILD) $(JOBS)

clean:
	rm -rf $(BUILD) $(SANITIZE_BUILD) $(TSAN_BUILD) $(CROSS_BUILD)

.PHONY: all packages perfvisor benchmarks everything guest demo test sanitize cross cross-quick tsan bench lint clean
