// SPDX-License-Identifier: GPL-2.0-or-later
// What translated floating-point code leaves of the FPSCR for later.
#pragma once

#include "core/core.h"
#include "engine/translator/x64/shared_data.h"

namespace perfvisor::engine::translator {

// Translated code computes only while RN is "nearest" and none of XE, OE, UE and FEX is set, and
// only what raises no exception but "inexact". All that such an instruction changes in the FPSCR is
// then FR, FI and FPRF, each of them anew, and the sticky XX. So XX comes from the host's sticky
// flag, and the others from executing the last such instruction once more, when somebody looks.
// (An attempt that is given up sets the host's flag only where the exact road sets XX.)
void complete_float_status(core::CpuState& state, x64::SharedData& shared);

}  // namespace perfvisor::engine::translator
