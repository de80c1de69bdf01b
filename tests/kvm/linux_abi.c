/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The values of abi_values.inc by Linux's own header, cross-compiled for powerpc; read from the
 * object's .abi section by abi_test.cpp. */
#include <linux/kvm.h>
#include <stddef.h>

__attribute__((section(".abi"), used)) const unsigned long long linux_abi[] = {
#define ABI(expression) (unsigned long long)(expression),
#include "abi_values.inc"
};
