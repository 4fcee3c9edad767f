/*
 * Put in front of card.c and shm.c by explore_card.c: every access to a card word or a cell becomes a step of the
 * explorer, with the memory order that stands in the source. The sources themselves have no hook in them.
 */
#ifndef STEP_ATOMICS_H
#define STEP_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

uint64_t step_load(const void *at, int order);
void step_store(const void *at, uint64_t value, int order);
int step_swap(const void *at, uint64_t *seen, uint64_t next, int yes, int no);
uint64_t step_or(const void *at, uint64_t bits, int order);

/* card.c */
#undef atomic_load_explicit
#define atomic_load_explicit(at, order) step_load(at, order)
#undef atomic_store_explicit
#define atomic_store_explicit(at, value, order) step_store(at, value, order)
#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(at, seen, next, yes, no) step_swap(at, seen, next, yes, no)
#undef atomic_fetch_or_explicit
#define atomic_fetch_or_explicit(at, bits, order) step_or(at, bits, order)

/* shm.c */
#define __atomic_load_n(at, order) ((__typeof__(*(at) + 0))step_load(at, order))
#define __atomic_store_n(at, value, order) step_store(at, value, order)

#endif
