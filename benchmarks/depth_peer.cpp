// How fast llama.cpp, or ik_llama.cpp, is behind a context: what depth.py runs beside Cierzo.
//
//   depth_peer MODEL f16|q8_0 THREADS CONTEXT    (a multiple of 1,024)
//
// Prints the seconds of a prompt of 512 tokens and of each of 8 tokens after it. The context is one
// computed piece, copied again and again: what lies in a cache does not change the time, and to
// compute 100,000 tokens takes hours. Build it against the peer's shared library (IK for
// ik_llama.cpp):
//
//   g++ -O2 -DIK -I PEER/include -I PEER/ggml/include benchmarks/depth_peer.cpp \
//       -L PEER/build/src -L PEER/build/ggml/src -lllama -lggml -Wl,-rpath,... -o depth_peer
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "llama.h"

namespace {

constexpr int kPiece = 1024;
constexpr int kPrompt = 512;
constexpr int kAnswer = 8;

#ifdef IK
size_t state_size(llama_context* c) { return llama_state_seq_get_size(c, 0, 0); }
size_t get_state(llama_context* c, uint8_t* to, size_t n) {
    return llama_state_seq_get_data(c, to, n, 0, 0);
}
size_t set_state(llama_context* c, const uint8_t* from, size_t n, int sequence) {
    return llama_state_seq_set_data(c, from, n, sequence, 0);
}
void shift(llama_context* c, int sequence, int by) {
    llama_kv_cache_seq_add(c, sequence, -1, -1, by);
}
void copy(llama_context* c, int from, int to) { llama_kv_cache_seq_cp(c, from, to, -1, -1); }
void remove(llama_context* c, int sequence, int begin) {
    llama_kv_cache_seq_rm(c, sequence, begin, -1);
}
#else
size_t state_size(llama_context* c) { return llama_state_seq_get_size(c, 0); }
size_t get_state(llama_context* c, uint8_t* to, size_t n) {
    return llama_state_seq_get_data(c, to, n, 0);
}
size_t set_state(llama_context* c, const uint8_t* from, size_t n, int sequence) {
    return llama_state_seq_set_data(c, from, n, sequence);
}
void shift(llama_context* c, int sequence, int by) {
    llama_memory_seq_add(llama_get_memory(c), sequence, -1, -1, by);
}
void copy(llama_context* c, int from, int to) {
    llama_memory_seq_cp(llama_get_memory(c), from, to, -1, -1);
}
void remove(llama_context* c, int sequence, int begin) {
    llama_memory_seq_rm(llama_get_memory(c), sequence, begin, -1);
}
#endif

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "depth_peer: %s\n", what);
    std::exit(1);
}

// Seconds that so many random tokens of the first sequence take, from `position` on.
double run(llama_context* context, int count, int position) {
    static llama_batch batch = llama_batch_init(kPiece, 0, 1);
    batch.n_tokens = count;
    for (int i = 0; i < count; ++i) {
        batch.token[i] = 300 + std::rand() % 20000;
        batch.pos[i] = position + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = i + 1 == count;
    }
    const auto began = std::chrono::steady_clock::now();
    if (llama_decode(context, batch) != 0) fail("llama_decode failed");
    llama_synchronize(context);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

// Fills the first sequence with `length` positions: a piece, computed once and copied.
void fill(llama_context* context, int length) {
    if (length == 0) return;
    run(context, kPiece, 0);
    std::vector<uint8_t> piece(state_size(context));
    get_state(context, piece.data(), piece.size());
    for (int i = 1; i < length / kPiece; ++i) {
        if (set_state(context, piece.data(), piece.size(), i) == 0) fail("no state");
        shift(context, i, i * kPiece);
        copy(context, i, 0);
        remove(context, i, -1);
    }
    run(context, 1, length);  // turns all keys to their places
    remove(context, 0, length);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) fail("MODEL f16|q8_0 THREADS CONTEXT");
    const int threads = std::atoi(argv[3]), length = std::atoi(argv[4]);
    if (threads < 1 || length < 0 || length % kPiece != 0) fail("CONTEXT: a multiple of 1,024");
    llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
    llama_backend_init();
    llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (model == nullptr) fail("the model does not load");
    llama_context_params how = llama_context_default_params();
    how.n_ctx = length + kPiece;
    how.n_batch = kPiece;
    how.n_ubatch = kPrompt;
    how.n_seq_max = length / kPiece + 1;
    how.n_threads = how.n_threads_batch = threads;
    how.type_k = how.type_v = std::strcmp(argv[2], "q8_0") == 0 ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
#ifdef IK
    how.flash_attn = true;
#else
    how.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
    how.kv_unified = true;
#endif
    llama_context* context = llama_init_from_model(model, how);
    if (context == nullptr) fail("no context");
    run(context, kPrompt, 0);  // warms up
    remove(context, 0, -1);
    fill(context, length);
    std::printf("%.6f", run(context, kPrompt, length));
    for (int i = 0; i < kAnswer; ++i) {
        std::printf(" %.6f", run(context, 1, length + kPrompt + i));
    }
    std::printf("\n");
    std::fflush(stdout);
    std::_Exit(0);  // a peer's way down is not measured
}
