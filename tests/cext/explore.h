/*
 * An explorer of interleavings: threads that run real code, in every order, with every state looked at once.
 *
 * Each thread is a coroutine that stops (step) before whatever others could notice. The explorer picks who goes on,
 * in every order: depth first, putting back a copy of the world (stacks included) for each branch, and not going on
 * where it has been. A place is the shared memory, the store buffer, and for each thread the hash of everything it has
 * seen since its last point, which together with the point determines where it stands.
 *
 * Memory is x86-TSO as far as one thread's plain stores go: they stand in a store buffer that drains at any time, at
 * the latest at that thread's next locked instruction; everything else is locked or a load.
 */
#ifndef EXPLORE_H
#define EXPLORE_H

#include <stddef.h>
#include <stdint.h>

enum { THREADS_MAX = 5, REGIONS_MAX = 4 };

/* What is explored. The word is the one that threads wait on. */
struct exploration {
        const char *name;
        uint64_t *word;
        int thread_count;
        void (*run[THREADS_MAX])(void);
        struct {
                void *at;
                size_t size;
        } shared[REGIONS_MAX];         /* all that threads share besides the word; without padding */
        void (*reset)(void);           /* puts word and shared memory to the start */
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

/* A plain store, and what a locked instruction of the same thread does first. */
void buffer_store(uint8_t *cell, uint8_t value);
void buffer_drain(void);

void end_thread(int thread);
int thread_is_done(int thread);
int thread_is_ended(int thread);
void violated(const char *what);

#endif
