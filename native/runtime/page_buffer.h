// Memory straight from the kernel: zeroed, page-aligned, committed page by page when first touched.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cierzo {

class PageBuffer {
  public:
    PageBuffer() = default;
    // `huge_pages` asks for 2 MB pages: good for what is walked through, bad for what stays sparse.
    // Throws std::bad_alloc when the address space is used up.
    explicit PageBuffer(size_t bytes, bool huge_pages = true);
    ~PageBuffer();
    PageBuffer(PageBuffer&& other) noexcept;
    PageBuffer& operator=(PageBuffer&& other) noexcept;
    PageBuffer(const PageBuffer&) = delete;
    PageBuffer& operator=(const PageBuffer&) = delete;

    uint8_t* data() const { return data_; }
    size_t bytes() const { return bytes_; }
    // Gives the whole pages of a part back to the system: they read as zeros until written again.
    void give_back(size_t offset, size_t bytes);
    template <typename T>
    T* as() const {
        return reinterpret_cast<T*>(data_);
    }

  private:
    uint8_t* data_ = nullptr;
    size_t bytes_ = 0;
};

}  // namespace cierzo
