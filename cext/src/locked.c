/* Memory that is locked, never dumped, never inherited, and fenced by inaccessible pages: arena.h. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vec/arena.h"
#include "vec/status.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

/* Those that a call may change. */
#if defined(__x86_64__)
#define REGISTERS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
                  "xmm12", "xmm13", "xmm14", "xmm15"
#elif defined(__aarch64__)
#define REGISTERS "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22", \
                  "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"
#endif

enum { PAGE = 4096, STACK_WIPED = 65536 };

void vec_wipe(void *memory, size_t size)
{
        explicit_bzero(memory, size);
}

int vec_is_zero(const void *memory, size_t size)
{
        const unsigned char *byte = memory;
        uint64_t sum = 0, word;

        /* The compiler may not conclude from an earlier memset what stands there. */
        __asm__ __volatile__("" : : "r"(memory) : "memory");
        for (; size >= sizeof(word); size -= sizeof(word), byte += sizeof(word)) {
                memcpy(&word, byte, sizeof(word));
                sum |= word;
        }
        for (; size; size--)
                sum |= *byte++;
        return sum == 0;
}

/*
 * A cipher's last round keys stay in vector registers, and whoever saves those (the dynamic linker at the first call of
 * a function, a signal) writes them to the stack.
 */
static void registers_wipe(void)
{
#if defined(__x86_64__)
        if (__builtin_cpu_supports("avx"))
                __asm__ __volatile__("vzeroall" : : : REGISTERS);
        else
                __asm__ __volatile__("pxor %%xmm0, %%xmm0; pxor %%xmm1, %%xmm1; pxor %%xmm2, %%xmm2; pxor %%xmm3, %%xmm3;"
                                     "pxor %%xmm4, %%xmm4; pxor %%xmm5, %%xmm5; pxor %%xmm6, %%xmm6; pxor %%xmm7, %%xmm7;"
                                     "pxor %%xmm8, %%xmm8; pxor %%xmm9, %%xmm9; pxor %%xmm10, %%xmm10;"
                                     "pxor %%xmm11, %%xmm11; pxor %%xmm12, %%xmm12; pxor %%xmm13, %%xmm13;"
                                     "pxor %%xmm14, %%xmm14; pxor %%xmm15, %%xmm15"
                                     : : : REGISTERS);
        /* These sixteen exist with AVX-512 only, and the compiler uses none of them here. */
        if (__builtin_cpu_supports("avx512f"))
                __asm__ __volatile__(".irp n, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
                                     "vpxord %zmm\\n, %zmm\\n, %zmm\\n\n"
                                     ".endr");
#elif defined(__aarch64__)
        __asm__ __volatile__(".irp n, 0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
                             "movi v\\n\\().2d, #0\n"
                             ".endr"
                             : : : REGISTERS);
#endif
}

__attribute__((noinline)) void vec_stack_wipe(void)
{
        char below[STACK_WIPED];

        registers_wipe();
        explicit_bzero(below, sizeof(below));
}

static size_t whole_pages(size_t size)
{
        return (size + PAGE - 1) & ~(size_t)(PAGE - 1);
}

/* Secret memory is locked by its nature and counts against RLIMIT_MEMLOCK; mlock() itself does not take it. */
static int map_secret(char *where, size_t size)
{
        int fd = (int)syscall(SYS_memfd_secret, 0x80000U /* O_CLOEXEC */);
        void *got = MAP_FAILED;

        if (fd < 0)
                return 0;
        if (ftruncate(fd, (off_t)size) == 0)
                got = mmap(where, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
        close(fd);
        return got != MAP_FAILED;
}

static int map_plain(char *where, size_t size)
{
        if (mmap(where, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
                return 0;
        return mlock(where, size) == 0;
}

int vec_locked_map(size_t size, void **ret_memory, int *ret_secret)
{
        size_t inner = whole_pages(size), i;
        int secret, saved;
        char *fence;

        fence = mmap(NULL, inner + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (fence == MAP_FAILED)
                return -VEC_EEXHAUSTED;
        secret = map_secret(fence + PAGE, inner);
        if (!secret && !map_plain(fence + PAGE, inner))
                goto fail;
        /* Where the kernel knows neither advice the promise cannot be kept, so there is no arena. */
        if (madvise(fence + PAGE, inner, MADV_DONTDUMP) < 0 || madvise(fence + PAGE, inner, MADV_DONTFORK) < 0)
                goto fail;
        /* Every page now: later there is nobody to tell that memory is short. */
        for (i = 0; i < inner; i += PAGE)
                *(volatile char *)(fence + PAGE + i) = 0;
        *ret_memory = fence + PAGE;
        *ret_secret = secret;
        return 0;
fail:
        saved = errno;
        munmap(fence, inner + 2 * PAGE);
        errno = saved;
        return -VEC_EEXHAUSTED;
}

void vec_locked_unmap(void *memory, size_t size)
{
        if (!memory)
                return;
        vec_wipe(memory, size);
        munmap((char *)memory - PAGE, whole_pages(size) + 2 * PAGE);
}
