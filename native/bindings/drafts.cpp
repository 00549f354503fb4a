// Python bindings: what a text is likely to go on with.
#include <nanobind/ndarray.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <vector>

#include "bindings/bindings.h"
#include "runtime/draft_index.h"

namespace nb = nanobind;

namespace cierzo {
namespace {

using Tokens = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

}  // namespace

void bind_drafts(nb::module_& m) {
    using namespace nb::literals;
    nb::class_<DraftIndex>(m, "DraftIndex", "What a text is likely to go on with.")
        .def(
            "__init__",
            [](DraftIndex* self, const Tokens& predicted) {
                new (self) DraftIndex(predicted.data(), predicted.shape(0));
            },
            "predicted"_a)
        .def(
            "extend",
            [](DraftIndex& index, const Tokens& tokens) {
                const nb::gil_scoped_release release;
                index.extend(tokens.data(), tokens.shape(0));
            },
            "tokens"_a, "The text goes on with these tokens.")
        .def("truncate", &DraftIndex::truncate, "length"_a, "The text ends after so many tokens.")
        .def("begin_prediction", &DraftIndex::begin_prediction,
             "What was predicted comes from here on.")
        .def(
            "propose",
            [](const DraftIndex& index, size_t most) {
                std::vector<int32_t> tokens(most);
                tokens.resize(index.propose(most, tokens.data()));
                return tokens;
            },
            "most"_a, "Up to so many tokens that are likely to come next.")
        .def_prop_ro("length", &DraftIndex::length)
        .def_prop_ro("agreement", &DraftIndex::agreement)
        .def_prop_ro("from_prediction", &DraftIndex::from_prediction);
}

}  // namespace cierzo
