// Which instruction set this process uses: the best the processor has, or the one it was told.
#include "runtime/cpu_features.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include <cstdlib>
#include <stdexcept>

namespace cierzo {
namespace {

struct Candidate {
    bool supported;
    const Kernels& (*kernels)();
};

#if defined(__aarch64__)
// Extensions of NEON: products of four bytes at once, both signed (FEAT_DotProd), or one unsigned
// (part of FEAT_I8MM).
struct NeonExtensions {
    bool dotprod = false;
    bool i8mm = false;
};

NeonExtensions neon_extensions() {
#if defined(__linux__)
    // As in the kernel's asm/hwcap.h, of which older ones lack the second.
    constexpr unsigned long kDotProd = 1ul << 20;  // HWCAP_ASIMDDP
    constexpr unsigned long kI8mm = 1ul << 13;     // HWCAP2_I8MM
    return {(getauxval(AT_HWCAP) & kDotProd) != 0, (getauxval(AT_HWCAP2) & kI8mm) != 0};
#elif defined(__APPLE__)
    const auto has = [](const char* name) {
        int value = 0;
        size_t size = sizeof value;
        return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
    };
    return {has("hw.optional.arm.FEAT_DotProd"), has("hw.optional.arm.FEAT_I8MM")};
#else
    return {};
#endif
}
#endif

#if defined(__x86_64__)
// Whether the system lets this process use the matrix registers: Linux has to be asked, as in its
// arch/x86/xstate.rst, and declines where a thread's stack for signals has no room for them.
bool matrix_registers() {
#if defined(__linux__)
    // Not every compiler that can use them knows their names for __builtin_cpu_supports.
    constexpr unsigned kBoth = 3u << 24;  // AMX-TILE and AMX-INT8 in EDX of leaf 7
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kBoth) != kBoth) return false;
    constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
    constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
    static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    return granted;
#else
    return false;
#endif
}
#endif

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
    found.push_back({avx512 && matrix_registers(), &amx::kernels});
    found.push_back({avx512, &avx512::kernels});
    found.push_back({avx2 && __builtin_cpu_supports("avxvnni") != 0, &avxvnni::kernels});
    found.push_back({avx2, &avx2::kernels});
#elif defined(__aarch64__)
    const NeonExtensions neon = neon_extensions();
    found.push_back({neon.dotprod && neon.i8mm, &i8mm::kernels});
    found.push_back({neon.dotprod, &dotprod::kernels});
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
