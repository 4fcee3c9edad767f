/* The explorer of interleavings (explore.h). */
#include "explore.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
        FLUSH = THREADS_MAX,           /* and up: the store buffer of a thread, as somebody who may be picked */
        PICKS = 2 * THREADS_MAX,
        DEPTH_MAX = 600,
        STACK = 8192,
        SHARED_MAX = 512,
        PLACES_FIRST = 1 << 20,
        PLACES_MOST = 1 << 27,
};

static const struct exploration *world;

struct thread {
        jmp_buf here;
        char *low;                     /* the stack is in use from here up */
        int done, ended;
        int waiting;                   /* until the word is no longer what it was */
        uint64_t waited_for;
        uint64_t history;              /* of everything seen since the last point */
        uint64_t point;                /* which calls are behind it, and what they answered */
        struct access next;            /* what it stands before */
};

static struct thread threads[THREADS_MAX];
static _Alignas(64) char stacks[THREADS_MAX][STACK];
static int current;
static int chosen;                     /* which of the ways in which the access can turn out */
static jmp_buf scheduler;
static const char *violation;

/* ---- for the threads ---- */

uint64_t mix(uint64_t hash, uint64_t value)
{
        hash ^= value + UINT64_C(0x9e3779b97f4a7c15) + (hash << 6) + (hash >> 2);
        hash *= UINT64_C(0xff51afd7ed558ccd);
        return hash ^ hash >> 32;
}

int this_thread(void)
{
        return current;
}

void saw(uint64_t value)
{
        threads[current].history = mix(threads[current].history, value);
}

void done_with(uint64_t answer)
{
        back_to(mix(threads[current].point, answer));
}

void again(void)
{
        threads[current].history = threads[current].point;
}

uint64_t point(void)
{
        return threads[current].point;
}

void back_to(uint64_t point)
{
        threads[current].point = threads[current].history = point;
}

void violated(const char *what)
{
        if (!violation)
                violation = what;
}

void end_thread(int thread)
{
        threads[thread].ended = 1;
        memory_gone(thread);
}

int thread_is_done(int thread)
{
        return threads[thread].done;
}

int thread_is_ended(int thread)
{
        return threads[thread].ended;
}

__attribute__((noinline)) void step(void)
{
        /* Room for what this frame itself holds below its frame address. */
        threads[current].low = (char *)__builtin_frame_address(0) - 256;
        if (!_setjmp(threads[current].here))
                _longjmp(scheduler, 1);
}

void moment(void)
{
        step();
        saw(4);
}

void wait_for_change(void)
{
        threads[current].waiting = 1;
        threads[current].waited_for = world->model == RA ? 0 : memory_latest(WORD);
        step();
        again();
}

static uint64_t perform(const struct access *access, int *ret_swapped)
{
        threads[current].next = *access;
        step();
        threads[current].next.kind = NOTHING;
        return memory_perform(current, access, chosen, ret_swapped);
}

uint64_t load(int location, int order)
{
        const struct access access = {.kind = LOAD, .location = location, .order = order};
        uint64_t value = perform(&access, NULL);

        saw(value);
        return value;
}

void store(int location, uint64_t value, int order)
{
        const struct access access = {.kind = STORE, .location = location, .order = order, .value = value};

        perform(&access, NULL);
        saw(3);
}

int swap_word(int location, uint64_t *seen, uint64_t next, int order, int failure)
{
        const struct access access = {.kind = SWAP, .location = location, .order = order, .failure = failure,
                                      .value = next, .expected = *seen};
        int swapped;
        uint64_t value = perform(&access, &swapped);

        if (!swapped)
                *seen = value;
        saw(swapped ? 1 : mix(2, value));
        return swapped;
}

void fence(int order)
{
        const struct access access = {.kind = FENCE, .order = order};

        perform(&access, NULL);
        saw(5);
}

void touch(int location)
{
        if (memory_touch(current, location))
                violated("race");
}

/* ---- places ---- */

static uint64_t *places;
static size_t place_count, places_size;
static long steps;

static int insert(uint64_t *table, size_t size, uint64_t place)
{
        size_t at = (place >> 1) & (size - 1);

        while (table[at] && table[at] != place)
                at = (at + 1) & (size - 1);
        if (table[at])
                return 0;
        table[at] = place;
        return 1;
}

static void grow(size_t size)
{
        uint64_t *larger = size > PLACES_MOST ? NULL : calloc(size, sizeof *larger);

        if (!larger) {
                fprintf(stderr, "%s: too many places\n", world->name);
                exit(2);
        }
        for (size_t at = 0; at < places_size; at++)
                if (places[at])
                        insert(larger, size, places[at]);
        free(places);
        places = larger;
        places_size = size;
}

static int seen_before(uint64_t place)
{
        if (!insert(places, places_size, place | 1))
                return 1;
        if (++place_count > places_size / 2)
                grow(places_size * 2);
        return 0;
}

static uint64_t place_now(void)
{
        uint64_t hash = memory_hash(7);

        for (int at = 0; at < world->thread_count; at++) {
                const struct thread *thread = &threads[at];

                hash = mix(mix(hash, thread->history), (uint64_t)(thread->done | thread->ended << 1));
                if (thread->waiting)
                        hash = mix(hash, thread->waited_for);
        }
        for (size_t at = 0; at < world->shared_size; at++)
                hash = mix(hash, ((const uint8_t *)world->shared)[at]);
        return hash;
}

/* The world before the step at a depth, and who was picked there. */
static struct copy {
        int who, choice;
        struct memory memory;
        uint8_t shared[SHARED_MAX];
        struct thread threads[THREADS_MAX];
        char stacks[THREADS_MAX][STACK];
} copies[DEPTH_MAX];

/* The part in use of every stack, and all that is shared, in the direction asked for. */
static void copy_bytes(struct copy *copy, int back)
{
        for (int at = 0; at < world->thread_count; at++) {
                size_t from = (size_t)(threads[at].low - stacks[at]), size = STACK - from;

                if (threads[at].done)
                        continue;
                memcpy(back ? &stacks[at][from] : &copy->stacks[at][from],
                       back ? &copy->stacks[at][from] : &stacks[at][from], size);
        }
        memcpy(back ? world->shared : (void *)copy->shared, back ? (void *)copy->shared : world->shared,
               world->shared_size);
}

static void keep(struct copy *copy)
{
        memory_keep(&copy->memory);
        memcpy(copy->threads, threads, sizeof threads);
        copy_bytes(copy, 0);
}

static void put_back(struct copy *copy)
{
        memory_put_back(&copy->memory);
        memcpy(threads, copy->threads, sizeof threads);
        copy_bytes(copy, 1);
}

/* ---- running ---- */

static void trampoline(void)
{
        world->run[current]();
        threads[current].done = 1;
        memory_gone(current);
        _longjmp(scheduler, 1);
}

static void start(int who)
{
        static ucontext_t first;

        current = who;
        if (_setjmp(scheduler))
                return;
        getcontext(&first);
        first.uc_stack.ss_sp = stacks[who];
        first.uc_stack.ss_size = STACK;
        first.uc_link = NULL;
        makecontext(&first, trampoline, 0);
        setcontext(&first);
}

static void start_all(void)
{
        if (world->shared_size > SHARED_MAX) {
                fprintf(stderr, "%s: no room\n", world->name);
                exit(2);
        }
        free(places);
        places = NULL;
        places_size = 0;
        grow(PLACES_FIRST);
        place_count = 0;
        steps = 0;
        memset(threads, 0, sizeof threads);
        violation = NULL;
        world->reset();
        /* Each up to before its first step: nobody has done anything yet. */
        for (int at = 0; at < world->thread_count; at++) {
                threads[at].history = threads[at].point = (uint64_t)at;
                start(at);
        }
}

/* In how many ways may this one go on? */
static int ways(int who)
{
        const struct thread *thread = &threads[who];

        if (who >= FLUSH)
                return memory_buffered(who - FLUSH) > 0;
        if (who >= world->thread_count || thread->done || thread->ended)
                return 0;
        if (thread->waiting)
                return world->woken(who) ||
                       (world->model == RA ? memory_behind(who, WORD) : memory_latest(WORD) != thread->waited_for);
        return memory_choices(who, &thread->next);
}

static void run(int who)
{
        if (who >= FLUSH) {
                memory_flush(who - FLUSH);
                return;
        }
        current = who;
        threads[who].waiting = 0;
        if (!_setjmp(scheduler))
                _longjmp(threads[who].here, 1);
}

/* The next pick after (who, choice), with its choice; PICKS when there is none. */
static int next_after(int who, int *choice)
{
        if (who >= 0 && ++*choice < ways(who))
                return who;
        *choice = 0;
        do
                who++;
        while (who < PICKS && !ways(who));
        return who;
}

static void tell(int depth)
{
        printf("%s: VIOLATED %s after:", world->name, violation);
        for (int at = 0; at < depth; at++)
                printf(copies[at].choice ? " %d.%d" : " %d", copies[at].who, copies[at].choice);
        printf("\n");
}

int explore(const struct exploration *exploration)
{
        int depth = 0;

        world = exploration;
        start_all();
        for (;;) {
                int who = PICKS, choice = 0;

                world->check();
                if (!violation && !seen_before(place_now())) {
                        who = next_after(-1, &choice);
                        if (who == PICKS)
                                violation = world->at_rest();
                }
                if (violation) {
                        tell(depth);
                        return 1;
                }
                if (depth == DEPTH_MAX) {
                        fprintf(stderr, "%s: too deep\n", world->name);
                        exit(2);
                }
                if (who < PICKS)
                        keep(&copies[depth++]);
                /* Been here, or all are done: back to the last place with somebody not yet picked. */
                while (who == PICKS) {
                        if (depth == 0) {
                                printf("%s: ok, %zu places, %ld steps\n", world->name, place_count, steps);
                                return 0;
                        }
                        put_back(&copies[depth - 1]);
                        choice = copies[depth - 1].choice;
                        who = next_after(copies[depth - 1].who, &choice);
                        if (who == PICKS)
                                depth--;
                }
                copies[depth - 1].who = who;
                copies[depth - 1].choice = choice;
                chosen = choice;
                steps++;
                run(who);
        }
}
