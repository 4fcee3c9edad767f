/*
 * Shared memory by descriptor: what shm.c and card.c do alike. Failures return -1 or NULL with errno set.
 */
#ifndef VEC_MEMFD_H
#define VEC_MEMFD_H

#include <stddef.h>

/* A new, zeroed, sealable memfd of that size, closed on exec and never executable where the kernel can say so. */
int vec_memfd_new(const char *name, size_t size);

/* A shared mapping, kept out of forked children and of core dumps; NULL on failure. */
void *vec_memfd_map(int fd, size_t size, int protection);

/* A second descriptor of the same memory, with `flags` of open(2) as its access mode. */
int vec_memfd_reopen(int fd, int flags);

/* 0 if the descriptor has that size, all of `seals` and none of `without`; otherwise -VEC_EINTEGRITY. */
int vec_memfd_check(int fd, size_t size, int seals, int without);

/* Both leave errno as it was. */
void vec_memfd_unmap(void *map, size_t size);
void vec_memfd_close(int fd);

#endif
