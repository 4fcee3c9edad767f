/*
 * Put in front of card.c by explore_card.c: every access to the card word becomes a step of the explorer. The source
 * itself has no hook in it.
 */
#ifndef STEP_ATOMICS_H
#define STEP_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

uint64_t step_load(const _Atomic uint64_t *word);
int step_swap(_Atomic uint64_t *word, uint64_t *seen, uint64_t next);

#undef atomic_load_explicit
#define atomic_load_explicit(word, order) step_load(word)
#undef atomic_compare_exchange_strong_explicit
#define atomic_compare_exchange_strong_explicit(word, seen, next, yes, no) step_swap(word, seen, next)

#endif
