// Python bindings: thread pool, KV cache, recorded programs.
#include "bindings/bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "runtime/block_io.h"
#include "runtime/kv_cache.h"
#include "runtime/packed_weight.h"
#include "runtime/program.h"
#include "runtime/thread_pool.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace cierzo {
namespace {

template <int Dimensions>
using Int32Array = nb::ndarray<const int32_t, nb::ndim<Dimensions>, nb::c_contig, nb::device::cpu>;
using Float32Vector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Float64Vector = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using ConstBytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Logits = nb::ndarray<nb::numpy, const float, nb::ndim<2>, nb::c_contig>;

template <typename Array>
auto span_of(const Array& array) {
    return std::span<const typename Array::Scalar>(array.data(), array.size());
}

std::vector<float> to_vector(const Float32Vector& array) {
    return {array.data(), array.data() + array.size()};
}

BatchView view(const Int32Array<1>& token_ids, const Int32Array<1>& positions,
               const Int32Array<1>& query_start, const Int32Array<1>& context_len,
               const Int32Array<2>& block_tables, const Int32Array<1>& logits_rows) {
    if (block_tables.shape(0) != context_len.shape(0)) {
        throw std::invalid_argument("batch: block_tables needs a row a sequence");
    }
    return {span_of(token_ids),   span_of(positions),    span_of(query_start),
            span_of(context_len), span_of(block_tables), span_of(logits_rows)};
}

CacheType cache_type(const std::string& name) {
    if (name == "int16") return CacheType::I16;
    if (name == "int8") return CacheType::I8;
    throw std::invalid_argument("a KV cache holds int16 or int8, not " + name);
}

void check_block(const KvCache& cache, int block, size_t bytes) {
    if (block < 0 || block >= cache.shape().blocks) {
        throw std::invalid_argument("the cache has no block " + std::to_string(block));
    }
    if (bytes != cache.block_bytes()) {
        throw std::invalid_argument("a block takes " + std::to_string(cache.block_bytes()) +
                                    " bytes, not " + std::to_string(bytes));
    }
}

// Works with files while other threads have the interpreter; a failure is an OSError.
template <typename Work>
uint64_t with_files(const Work& work) {
    try {
        nb::gil_scoped_release released;
        return work();
    } catch (const std::system_error& error) {
        errno = error.code().value();
        PyErr_SetFromErrno(PyExc_OSError);
        throw nb::python_error();
    }
}

void bind_cache(nb::module_& m) {
    m.def(
        "digest",
        [](const ConstBytes& data, uint64_t seed) {
            nb::gil_scoped_release released;
            return digest(data.data(), data.size(), seed);
        },
        "data"_a, "seed"_a = 0,
        "64 bits that tell whether bytes are the same; `seed`: what stands before.");
    nb::class_<KvCache>(m, "KvCache")
        .def(
            "__init__",
            [](KvCache* self, int layers, int blocks, int kv_heads, int head_dim,
               const std::string& dtype) {
                new (self) KvCache({layers, blocks, kv_heads, head_dim, cache_type(dtype)});
            },
            "layers"_a, "blocks"_a, "kv_heads"_a, "head_dim"_a, "dtype"_a)
        .def_prop_ro("block_bytes", &KvCache::block_bytes)
        .def(
            "copy_block",
            [](KvCache& cache, int source, int target) {
                check_block(cache, source, cache.block_bytes());
                check_block(cache, target, cache.block_bytes());
                cache.copy_block(source, target);
            },
            "source"_a, "target"_a, "Copies a block, over all layers, to another one.")
        .def(
            "give_back",
            [](KvCache& cache, std::vector<int> blocks) {
                for (const int block : blocks) check_block(cache, block, cache.block_bytes());
                cache.give_back(std::move(blocks));
            },
            "blocks"_a, "Gives the memory of blocks back to the system; what they held is lost.")
        .def(
            "read_block",
            [](const KvCache& cache, int block, const Bytes& out) {
                check_block(cache, block, out.size());
                cache.read_block(block, out.data());
            },
            "block"_a, "out"_a, "Copies a block's bytes, over all layers, to `out`.")
        .def(
            "write_block",
            [](KvCache& cache, int block, const ConstBytes& data) {
                check_block(cache, block, data.size());
                cache.write_block(block, data.data());
            },
            "block"_a, "data"_a, "Fills a block with bytes that `read_block` gave.")
        .def(
            "save_block",
            [](const KvCache& cache, int block, int file, int64_t offset) {
                check_block(cache, block, cache.block_bytes());
                return with_files([&] { return save_block(cache, block, file, offset); });
            },
            "block"_a, "file"_a, "offset"_a, "Writes a block to a file; its digest.")
        .def(
            "load_block",
            [](KvCache& cache, int block, int file, int64_t offset) {
                check_block(cache, block, cache.block_bytes());
                return with_files([&] { return load_block(cache, block, file, offset); });
            },
            "block"_a, "file"_a, "offset"_a, "Fills a block from a file; the digest of its bytes.");
}

Matrix matrix_of(const std::vector<const PackedWeight*>& parts) {
    if (parts.empty()) throw std::invalid_argument("a matrix needs at least one part");
    Matrix matrix;
    for (const PackedWeight* part : parts) {
        if (part->view().cols != parts.front()->view().cols) {
            throw std::invalid_argument("row-stacked matrices must have the same columns");
        }
        matrix.parts.push_back(&part->view());
    }
    return matrix;
}

}  // namespace

void bind_runtime(nb::module_& m) {
    m.attr("CACHE_BLOCK_POSITIONS") = kBlockPositions;
    m.attr("LOGITS_ROOM") = kLogitsFloats;

    nb::class_<ThreadPool>(m, "ThreadPool")
        .def(nb::init<int>(), "threads"_a)
        .def_prop_ro("threads", &ThreadPool::threads)
        .def_prop_ro("active_threads", &ThreadPool::active_threads,
                     "Threads in use now: fewer while another process has a core.");
    bind_cache(m);
    nb::class_<Activation>(m, "Activation").def_ro("width", &Activation::width);

    // A program refers to weights that it does not own: the caller keeps them alive.
    constexpr auto handle = nb::rv_policy::reference_internal;
    nb::class_<Program>(m, "Program")
        .def(
            "__init__",
            [](Program* self, std::shared_ptr<ThreadPool> pool, std::shared_ptr<KvCache> cache,
               int num_heads, int num_kv_heads, int head_dim, const Float64Vector& inv_freq,
               double rope_scale, bool rope_interleaved, int max_batch_tokens,
               int max_batch_sequences, int max_model_len) {
                new (self)
                    Program(std::move(pool), std::move(cache),
                            AttentionSizes{num_heads,
                                           num_kv_heads,
                                           head_dim,
                                           {inv_freq.data(), inv_freq.data() + inv_freq.size()},
                                           rope_scale,
                                           rope_interleaved},
                            {max_batch_tokens, max_batch_sequences, max_model_len});
            },
            "pool"_a, "cache"_a, nb::kw_only(), "num_heads"_a, "num_kv_heads"_a, "head_dim"_a,
            "inv_freq"_a, "rope_scale"_a, "rope_interleaved"_a, "max_batch_tokens"_a,
            "max_batch_sequences"_a, "max_model_len"_a)
        .def(
            "embed", [](Program& p, const PackedWeight& table) { return p.embed(table.view()); },
            "table"_a, handle)
        .def("wanted_rows", &Program::wanted_rows, "x"_a, handle)
        .def(
            "rms_norm",
            [](Program& p, Activation* x, const Float32Vector& weight, float eps) {
                return p.rms_norm(x, to_vector(weight), eps);
            },
            "x"_a, "weight"_a, "eps"_a, handle)
        .def(
            "linear",
            [](Program& p, Activation* x, const std::vector<const PackedWeight*>& weight,
               Activation* residual) { return p.linear(x, matrix_of(weight), residual); },
            "x"_a, "weight"_a, "residual"_a.none(), handle)
        .def("rope_and_store", &Program::rope_and_store, "qkv"_a, "layer"_a, handle)
        .def("paged_attention", &Program::paged_attention, "q"_a, "layer"_a, handle)
        .def(
            "gated_mlp",
            [](Program& p, Activation* x, const PackedWeight& gate, const PackedWeight& up,
               const std::vector<const PackedWeight*>& down, Activation* residual, bool precise) {
                return p.gated_mlp(x, gate.view(), up.view(), matrix_of(down), residual, precise);
            },
            "x"_a, "gate"_a, "up"_a, "down"_a, "residual"_a, "precise"_a, handle)
        .def(
            "logits",
            [](Program& p, Activation* x, const Float32Vector& norm, float eps,
               const std::vector<const PackedWeight*>& lm_head) {
                return p.logits(x, to_vector(norm), eps, matrix_of(lm_head));
            },
            "x"_a, "norm"_a, "eps"_a, "lm_head"_a, handle)
        .def("compile", &Program::compile, "logits"_a)
        .def(
            "run",
            [](nb::handle_t<Program> self, const Int32Array<1>& token_ids,
               const Int32Array<1>& positions, const Int32Array<1>& query_start,
               const Int32Array<1>& context_len, const Int32Array<2>& block_tables,
               const Int32Array<1>& logits_rows) -> std::optional<Logits> {
                Program& p = nb::cast<Program&>(self);
                const BatchView batch =
                    view(token_ids, positions, query_start, context_len, block_tables, logits_rows);
                {
                    nb::gil_scoped_release release;
                    if (!p.run(batch)) return std::nullopt;
                }
                return Logits(p.logits_data(),
                              {logits_rows.size(), static_cast<size_t>(p.vocab_size())}, self);
            },
            "token_ids"_a, "positions"_a, "query_start"_a, "context_len"_a, "block_tables"_a,
            "logits_rows"_a,
            "Runs one step. The logits [L, vocab] are a view that the next step overwrites; None "
            "if "
            "the step was cut.")
        .def("set_cut", &Program::set_cut, "cut"_a,
             "While it is set, no operation of a step begins. For any thread.")
        .def(
            "profile",
            [](Program& p, const Int32Array<1>& token_ids, const Int32Array<1>& positions,
               const Int32Array<1>& query_start, const Int32Array<1>& context_len,
               const Int32Array<2>& block_tables, const Int32Array<1>& logits_rows) {
                return p.profile(view(token_ids, positions, query_start, context_len, block_tables,
                                      logits_rows));
            },
            "token_ids"_a, "positions"_a, "query_start"_a, "context_len"_a, "block_tables"_a,
            "logits_rows"_a, "Runs one step, one operation at a time: [(name, seconds)] in order.")
        .def_prop_ro("max_logits_rows", &Program::max_logits_rows);
}

}  // namespace cierzo
