/* The explorer of interleavings (explore.h). */
#include "explore.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
        FLUSH = THREADS_MAX,           /* the store buffer as somebody who may be picked */
        DEPTH_MAX = 400,
        STACK = 8192,
        BUFFER_MAX = 8,
        SHARED_MAX = 512,
        PLACES = 1 << 23,
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
};

static struct thread threads[THREADS_MAX];
static _Alignas(64) char stacks[THREADS_MAX][STACK];
static int current;
static jmp_buf scheduler;
static const char *violation;

static struct {
        uint8_t *cell[BUFFER_MAX];
        uint8_t value[BUFFER_MAX];
        int count;
} buffer;

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
        threads[current].waited_for = *world->word;
        step();
        again();
}

void buffer_store(uint8_t *cell, uint8_t value)
{
        if (buffer.count == BUFFER_MAX) {
                fprintf(stderr, "the store buffer is full\n");
                exit(2);
        }
        buffer.cell[buffer.count] = cell;
        buffer.value[buffer.count++] = value;
}

void buffer_drain(void)
{
        for (int at = 0; at < buffer.count; at++)
                *buffer.cell[at] = buffer.value[at];
        buffer.count = 0;
}

/* ---- places ---- */

static uint64_t *places;
static size_t place_count;
static long steps;

static int seen_before(uint64_t place)
{
        size_t at = place & (PLACES - 1);

        place |= 1;
        while (places[at] && places[at] != place)
                at = (at + 1) & (PLACES - 1);
        if (places[at])
                return 1;
        if (++place_count > PLACES / 2) {
                fprintf(stderr, "too many places\n");
                exit(2);
        }
        places[at] = place;
        return 0;
}

static uint64_t place_now(void)
{
        uint64_t hash = mix(7, *world->word);

        for (int at = 0; at < world->thread_count; at++) {
                const struct thread *thread = &threads[at];

                hash = mix(mix(hash, thread->history), (uint64_t)(thread->done | thread->ended << 1));
                if (thread->waiting)
                        hash = mix(hash, thread->waited_for);
        }
        for (int region = 0; region < REGIONS_MAX; region++)
                for (size_t at = 0; at < world->shared[region].size; at++)
                        hash = mix(hash, ((const uint8_t *)world->shared[region].at)[at]);
        for (int at = 0; at < buffer.count; at++)
                hash = mix(mix(hash, (uint64_t)(uintptr_t)buffer.cell[at]), buffer.value[at]);
        return mix(hash, (uint64_t)buffer.count);
}

/* The world before the step at a depth, and who was picked there. */
static struct copy {
        int who;
        uint64_t word;
        uint8_t shared[SHARED_MAX];
        struct thread threads[THREADS_MAX];
        char stacks[THREADS_MAX][STACK];
        __typeof__(buffer) buffer;
} copies[DEPTH_MAX];

/* The part in use of every stack, and all that is shared, in the direction asked for. */
static void copy_bytes(struct copy *copy, int back)
{
        uint8_t *shared = copy->shared;

        for (int at = 0; at < world->thread_count; at++) {
                size_t from = (size_t)(threads[at].low - stacks[at]), size = STACK - from;

                if (threads[at].done)
                        continue;
                memcpy(back ? &stacks[at][from] : &copy->stacks[at][from],
                       back ? &copy->stacks[at][from] : &stacks[at][from], size);
        }
        for (int at = 0; at < REGIONS_MAX; at++) {
                void *here = world->shared[at].at;
                size_t size = world->shared[at].size;

                if (size)
                        memcpy(back ? here : (void *)shared, back ? (void *)shared : here, size);
                shared += size;
        }
}

static void keep(struct copy *copy)
{
        copy->word = *world->word;
        memcpy(copy->threads, threads, sizeof threads);
        copy->buffer = buffer;
        copy_bytes(copy, 0);
}

static void put_back(struct copy *copy)
{
        *world->word = copy->word;
        memcpy(threads, copy->threads, sizeof threads);
        buffer = copy->buffer;
        copy_bytes(copy, 1);
}

/* ---- running ---- */

static void trampoline(void)
{
        world->run[current]();
        threads[current].done = 1;
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
        size_t size = 0;

        for (int at = 0; at < REGIONS_MAX; at++)
                size += world->shared[at].size;
        if (!places)
                places = calloc(PLACES, sizeof *places);
        if (size > SHARED_MAX || !places) {
                fprintf(stderr, "%s: no room\n", world->name);
                exit(2);
        }
        memset(places, 0, sizeof *places * PLACES);
        place_count = 0;
        steps = 0;
        memset(threads, 0, sizeof threads);
        buffer.count = 0;
        violation = NULL;
        world->reset();
        /* Each up to before its first step: nobody has done anything yet. */
        for (int at = 0; at < world->thread_count; at++) {
                threads[at].history = threads[at].point = (uint64_t)at;
                start(at);
        }
}

static int may_run(int who)
{
        const struct thread *thread = &threads[who];

        if (who == FLUSH)
                return buffer.count > 0;
        if (who >= world->thread_count || thread->done || thread->ended)
                return 0;
        return !thread->waiting || *world->word != thread->waited_for || world->woken(who);
}

static void run(int who)
{
        if (who == FLUSH) {
                *buffer.cell[0] = buffer.value[0];
                buffer.count--;
                memmove(buffer.cell, buffer.cell + 1, sizeof buffer.cell[0] * (size_t)buffer.count);
                memmove(buffer.value, buffer.value + 1, (size_t)buffer.count);
                return;
        }
        current = who;
        threads[who].waiting = 0;
        if (!_setjmp(scheduler))
                _longjmp(threads[who].here, 1);
}

/* The next one after `who` that may go on; more than FLUSH when there is none. */
static int next_after(int who)
{
        do
                who++;
        while (who <= FLUSH && !may_run(who));
        return who;
}

int explore(const struct exploration *exploration)
{
        int depth = 0;

        world = exploration;
        start_all();
        for (;;) {
                int who = FLUSH + 1;

                world->check();
                if (!violation && !seen_before(place_now())) {
                        who = next_after(-1);
                        if (who > FLUSH)
                                violation = world->at_rest();
                }
                if (violation) {
                        printf("%s: VIOLATED %s after:", world->name, violation);
                        for (int at = 0; at < depth; at++)
                                printf(" %d", copies[at].who);
                        printf("\n");
                        return 1;
                }
                if (depth == DEPTH_MAX) {
                        fprintf(stderr, "%s: too deep\n", world->name);
                        exit(2);
                }
                if (who <= FLUSH)
                        keep(&copies[depth++]);
                /* Been here, or all are done: back to the last place with somebody not yet picked. */
                while (who > FLUSH) {
                        if (depth == 0) {
                                printf("%s: ok, %zu places, %ld steps\n", world->name, place_count, steps);
                                return 0;
                        }
                        put_back(&copies[depth - 1]);
                        who = next_after(copies[depth - 1].who);
                        if (who > FLUSH)
                                depth--;
                }
                copies[depth - 1].who = who;
                steps++;
                run(who);
        }
}
