// Which instruction set this process uses: the best the processor has, or the one it was told.
#include "runtime/cpu_features.h"

#include <cstdlib>
#include <stdexcept>

namespace cierzo {
namespace {

struct Candidate {
    bool supported;
    const Kernels& (*kernels)();
};

// Best first.
std::vector<Candidate> candidates() {
    std::vector<Candidate> found;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    found.push_back({avx512, &avx512::kernels});
    found.push_back({avx2 && __builtin_cpu_supports("avxvnni") != 0, &avxvnni::kernels});
    found.push_back({avx2, &avx2::kernels});
#endif
    found.push_back({true, &portable::kernels});
    return found;
}

const Kernels& choose() {
    const char* forced = std::getenv("CIERZO_ISA");
    for (const Candidate& candidate : candidates()) {
        if (!candidate.supported) continue;
        const Kernels& table = candidate.kernels();
        if (forced == nullptr || *forced == '\0' || std::string(forced) == table.isa) return table;
    }
    std::string names;
    for (const std::string& name : available_isas()) names += (names.empty() ? "" : ", ") + name;
    throw std::runtime_error("CIERZO_ISA=" + std::string(forced) +
                             " is not available on this processor; choose one of: " + names);
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Candidate& candidate : candidates()) {
        if (candidate.supported) names.emplace_back(candidate.kernels().isa);
    }
    return names;
}

const Kernels& active_kernels() {
    static const Kernels& table = choose();
    return table;
}

}  // namespace cierzo
