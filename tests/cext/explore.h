/*
 * An explorer of interleavings: threads that run real code, in every order and with everything memory may show them.
 *
 * Each thread is a coroutine that stops (step) before whatever others could notice. The explorer picks who goes on,
 * and, where the memory (memory.h) leaves a choice, what it sees: depth first, putting back a copy of the world
 * (stacks included) for each branch, and not going on where it has been. A place is the memory, what else is shared,
 * and for each thread the hash of everything it has seen since its last point, which together with the point
 * determines where it stands. Places are kept as hashes of 63 bits: with ten million of them the odds that any two
 * are taken for one are 1 in 180,000.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stddef.h>
#include <stdint.h>

#include "memory.h"

enum { THREADS_MAX = MEMORY_THREADS, WORD = 0 };

/* What is explored. Location WORD is the one that threads wait on. */
struct exploration {
        const char *name;
        enum memory_model model;
        int thread_count;
        void (*run[THREADS_MAX])(void);
        void *shared;                  /* all that threads share besides the memory; without padding */
        size_t shared_size;
        void (*reset)(void);           /* puts memory and `shared` to the start */
        void (*check)(void);           /* at every place; calls violated() */
        int (*woken)(int thread);      /* is there another reason to go on than a change of the word? */
        const char *(*at_rest)(void);  /* nobody can go on: NULL, or what is wrong with that */
};

/* Every schedule; 0, or 1 with the violation and the schedule printed. */
int explore(const struct exploration *exploration);

/* ---- for the threads ---- */

int this_thread(void);
/* Others may come first; then `value` is what this thread has seen. */
void step(void);
void saw(uint64_t value);
/* Others may come first: a thing happens now that the properties are about. */
void moment(void);
/* Nothing to do until somebody changes the word; then the call is made again from the start. */
void wait_for_change(void);

/*
 * A call is over. What is called keeps nothing, and the threads keep nothing but the answer, so what was seen on
 * the way is forgotten: many ways, one place. point and back_to are for what is kept over a few calls.
 */
void done_with(uint64_t answer);
void again(void);
uint64_t point(void);
void back_to(uint64_t point);
uint64_t mix(uint64_t hash, uint64_t value);

/* Atomic accesses, each a step; orders are memory_order_*. */
uint64_t load(int location, int order);
void store(int location, uint64_t value, int order);
int swap_word(int location, uint64_t *seen, uint64_t next, int order, int failure);
void fence(int order);
/* A write to plain data, no step of its own: a violation if it races with another. */
void touch(int location);

void end_thread(int thread);
int thread_is_done(int thread);
int thread_is_ended(int thread);
void violated(const char *what);

#endif
