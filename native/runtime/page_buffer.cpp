// Memory straight from the kernel: zeroed, page-aligned, committed page by page when first touched.
#include "runtime/page_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <utility>

namespace cierzo {

PageBuffer::PageBuffer(size_t bytes, bool huge_pages) : bytes_(bytes) {
    if (bytes == 0) return;
    void* found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
#if defined(__linux__)
    // Advice: where the system has no huge pages, small ones serve.
    madvise(found, bytes, huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#else
    static_cast<void>(huge_pages);
#endif
    data_ = static_cast<uint8_t*>(found);
}

PageBuffer::~PageBuffer() {
    if (data_ != nullptr) munmap(data_, bytes_);
}

void PageBuffer::give_back(size_t offset, size_t bytes) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t begin = (offset + page - 1) / page * page;
    const size_t end = std::min(offset + bytes, bytes_) / page * page;
    if (begin >= end) return;
#if defined(__linux__)
    madvise(data_ + begin, end - begin, MADV_DONTNEED);
#else
    // Elsewhere such advice leaves what was there: new pages in their place.
    mmap(data_ + begin, end - begin, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
#endif
}

PageBuffer::PageBuffer(PageBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

PageBuffer& PageBuffer::operator=(PageBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
}

}  // namespace cierzo
