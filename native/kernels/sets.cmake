# How native code is compiled, and its kernels: once per instruction set that the processor named by
# CMAKE_SYSTEM_PROCESSOR may have. What is built of them is for the including file to say.

# Contraction is off so that a fused multiply-add happens only where a kernel says so:
# results must not depend on what the optimiser felt like.
set(CIERZO_CXX_FLAGS -O3 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wno-psabi)

# GCC 12 warns of its own AVX-512 headers.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND CIERZO_CXX_FLAGS -Wno-uninitialized -Wno-maybe-uninitialized)
endif()

set(CIERZO_SANITIZE "" CACHE STRING "Sanitizers to build with, as in -fsanitize=; see `make sanitize`")
if(CIERZO_SANITIZE)
  list(APPEND CIERZO_CXX_FLAGS -O1 -g -fno-omit-frame-pointer -fsanitize=${CIERZO_SANITIZE}
       -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CIERZO_SANITIZE})
endif()

# One object library per instruction set, from the same source. The namespace is the set's name.
set(CIERZO_NATIVE ${CMAKE_CURRENT_LIST_DIR}/..)
set(CIERZO_ISA_OBJECTS)
function(cierzo_add_isa name)
  add_library(cierzo_${name} OBJECT ${CIERZO_NATIVE}/kernels/isa.cpp)
  target_compile_definitions(cierzo_${name} PRIVATE CIERZO_ISA=${name} CIERZO_ISA_${name}=1)
  target_compile_options(cierzo_${name} PRIVATE ${CIERZO_CXX_FLAGS} -fvisibility=hidden ${ARGN})
  target_include_directories(cierzo_${name} PRIVATE ${CIERZO_NATIVE})
  list(APPEND CIERZO_ISA_OBJECTS $<TARGET_OBJECTS:cierzo_${name}>)
  set(CIERZO_ISA_OBJECTS ${CIERZO_ISA_OBJECTS} PARENT_SCOPE)
endfunction()

cierzo_add_isa(portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(avx2_flags -mavx2 -mfma -mf16c -mbmi2)
  cierzo_add_isa(avx2 ${avx2_flags})
  cierzo_add_isa(avxvnni ${avx2_flags} -mavxvnni)
  set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
                   -mprefer-vector-width=512)
  cierzo_add_isa(avx512 ${avx512_flags})
  # All of AVX-512, and matrix registers.
  cierzo_add_isa(amx ${avx512_flags} -mamx-tile -mamx-int8 -DCIERZO_ISA_avx512=1)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(neon_flags)
  # Loads that GCC moves ahead in a tile of sums push these out of the registers.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    list(APPEND neon_flags -fno-schedule-insns)
  endif()
  cierzo_add_isa(dotprod -march=armv8.2-a+dotprod ${neon_flags})
  cierzo_add_isa(i8mm -march=armv8.2-a+dotprod+i8mm ${neon_flags})
endif()
