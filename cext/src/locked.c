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

__attribute__((noinline)) void vec_stack_wipe(void)
{
        char below[STACK_WIPED];

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
