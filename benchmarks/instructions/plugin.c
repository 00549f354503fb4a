// A plugin for QEMU (version 1 of its interface): counts the instructions that a program runs, and
// says how many at its end. Declared here, for Debian packages no header.
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

typedef uint64_t Id;
struct Block;

extern size_t qemu_plugin_tb_n_insns(const struct Block* block);
extern void qemu_plugin_register_vcpu_tb_trans_cb(Id id, void (*translated)(Id, struct Block*));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct Block* block, int add, void* to,
                                                     uint64_t amount);
extern void qemu_plugin_register_atexit_cb(Id id, void (*ended)(Id, void*), void* data);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t count;

static void translated(Id id, struct Block* block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &count, qemu_plugin_tb_n_insns(block));
}

static void ended(Id id, void* data) {
    (void)id;
    (void)data;
    fprintf(stderr, "instructions %" PRIu64 "\n", count);
}

__attribute__((visibility("default"))) int qemu_plugin_install(Id id, const void* info, int argc,
                                                               char** argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
