// Which instruction set this process uses: the best the processor has, or the one it was told.
#pragma once

#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace cierzo {

// Sets that are compiled in and that this processor can run, best first.
std::vector<std::string> available_isas();

// The table named by the environment variable CIERZO_ISA, else the best available.
// Throws std::runtime_error when the named set is unknown or cannot run here.
const Kernels& active_kernels();

}  // namespace cierzo
