/* Shared memory by descriptor (memfd.h). */
#include "memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vec/status.h"

/* Since Linux 6.3; a C library of before does not name it. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

int vec_memfd_new(const char *name, size_t size)
{
        int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

        /* EINVAL is how a kernel says that it does not know the flag. */
        if (fd < 0 && errno == EINVAL)
                fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -1;
        if (ftruncate(fd, (off_t)size) < 0) {
                vec_memfd_close(fd);
                return -1;
        }
        return fd;
}

void *vec_memfd_map(int fd, size_t size, int protection)
{
        void *map = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED)
                return NULL;
        if (madvise(map, size, MADV_DONTFORK) < 0 || madvise(map, size, MADV_DONTDUMP) < 0) {
                vec_memfd_unmap(map, size);
                return NULL;
        }
        return map;
}

int vec_memfd_reopen(int fd, int flags)
{
        char path[sizeof "/proc/self/fd/" + 3 * sizeof fd];

        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        return open(path, flags | O_CLOEXEC);
}

int vec_memfd_check(int fd, size_t size, int seals, int without)
{
        struct stat st;
        int have = fcntl(fd, F_GET_SEALS);

        if (have >= 0 && (have & seals) == seals && !(have & without) && fstat(fd, &st) == 0 && st.st_size >= 0 &&
            (size_t)st.st_size == size)
                return 0;
        errno = EINVAL;
        return -VEC_EINTEGRITY;
}

void vec_memfd_unmap(void *map, size_t size)
{
        int kept = errno;

        munmap(map, size);
        errno = kept;
}

void vec_memfd_close(int fd)
{
        int kept = errno;

        close(fd);
        errno = kept;
}
