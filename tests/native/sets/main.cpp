// compare_sets: tells which sets run here and which is in use (CIERZO_ISA is heeded), then holds
// its kernels against the portable ones. Ends with 1 if anything was not as it should be.
#include <exception>

#include "compare.h"
#include "runtime/cpu_features.h"

int main() {
    using namespace cierzo;
    std::printf("sets");
    for (const std::string& name : available_isas()) std::printf(" %s", name.c_str());
    std::printf("\n");
    const Kernels* tried = nullptr;
    try {
        tried = &active_kernels();
    } catch (const std::exception& error) {
        std::printf("%s\n", error.what());
        return 2;
    }
    std::printf("active %s\n", tried->isa);
    test::Comparison comparison(*tried, portable::kernels());
    test::compare_linear(comparison);
    test::compare_attention(comparison);
    test::compare_rows(comparison);
    test::compare_sampling(comparison);
    std::printf("comparisons %d\nfailures %d\n", comparison.comparisons(), comparison.failures());
    std::printf("bits %016llx\n", static_cast<unsigned long long>(comparison.digest()));
    return comparison.failures() == 0 ? 0 : 1;
}
