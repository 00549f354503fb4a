// Python bindings: what a text is likely to go on with.
#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "bindings/bindings.h"
#include "runtime/draft_index.h"
#include "runtime/token_log.h"

namespace nb = nanobind;

namespace cierzo {
namespace {

using Tokens = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void bind_token_log(nb::module_& m) {
    using namespace nb::literals;
    nb::class_<TokenLog>(m, "TokenLog", "Tokens in order, and where runs of them ended last.")
        .def(nb::init<size_t>(), "most"_a = 0,
             "Holds about so many tokens; beyond that the oldest go. 0: all.")
        .def("reserve", &TokenLog::reserve, "count"_a, "Makes room for so many in all.")
        .def(
            "extend",
            [](TokenLog& log, const Tokens& tokens) {
                for (size_t i = 0; i < tokens.shape(0); ++i) log.push(tokens.data()[i]);
            },
            "tokens"_a)
        .def(
            "end_text", [](TokenLog& log) { log.push(TokenLog::kMark); },
            "What comes next has nothing to do with what came before.")
        .def("truncate", &TokenLog::truncate, "length"_a)
        .def(
            "common",
            [](const TokenLog& log, const Tokens& tokens) {
                return log.common(tokens.data(), tokens.shape(0));
            },
            "tokens"_a, "How many first tokens are these.")
        .def("clear", &TokenLog::clear, "Forgets all tokens.")
        .def("__len__", [](const TokenLog& log) { return log.end() - log.begin(); })
        .def_prop_ro("bytes", &TokenLog::bytes);
}

}  // namespace

void bind_drafts(nb::module_& m) {
    using namespace nb::literals;
    bind_token_log(m);
    nb::class_<DraftIndex> index(m, "DraftIndex", "What a text is likely to go on with.");
    nb::enum_<DraftIndex::Origin>(index, "Origin", "Where a proposal comes from.")
        .value("PREDICTION", DraftIndex::kPrediction)
        .value("TEXT", DraftIndex::kText)
        .value("RECENT", DraftIndex::kRecent);
    index
        .def(nb::init<std::shared_ptr<TokenLog>, std::shared_ptr<const TokenLog>,
                      std::shared_ptr<const TokenLog>>(),
             "text"_a, "predicted"_a, "recent"_a,
             "`text` grows with the text; the others are no part of it.")
        .def(
            "extend",
            [](DraftIndex& index, const Tokens& tokens, size_t end) {
                const size_t length = index.length();
                end = std::min<size_t>(end, tokens.shape(0));
                if (end > length) index.extend(tokens.data() + length, end - length);
            },
            "tokens"_a, "end"_a,
            "`tokens` begin with the text, which goes on as they do, up to position `end`.")
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
        .def_prop_ro("origin", &DraftIndex::origin);
}

}  // namespace cierzo
