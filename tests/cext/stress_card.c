/*
 * card.c on threads: two to eight workers, the card thread and a guard that revokes, answers and gives again, until enough has
 * happened, however busy the machine is.
 * Built with ThreadSanitizer by test_card_stress.py.
 *
 * usage: stress_card drain|abort|force WORKERS ENOUGH SECONDS
 *
 * Ends when there were ENOUGH answers, turns and results that counted, ten of them discarded and ten steps cut short
 * where that is the mode (-DNAIVE: ten violations), or after SECONDS.
 *
 * drain: the guard waits for whatever is in flight. The engine is plain memory: a worker writes its cell of it while it
 * is inside, the card thread wipes all of it in `down`; ThreadSanitizer sees whether the card word orders the two.
 * abort: the guard waits for nothing; a leave after an abort must say no. force: it takes the card's own steps
 * away as well. In both a thread may still be at work when it is written off, so the engine is left alone.
 *
 * A violation is a result that counts (leave answers 0) although a revocation was answered between enter and leave, or
 * before enter without the right having been given again. Prints violations and counts; exit 1 if there are any.
 * With -DNAIVE a worker asks vec_card_allows and then works, without enter: there must be violations.
 * With -DFUSED the card thread works as the pump does: requests of its own, by the steps that do several in one change, and
 * one by one where these say no. The guard takes r away as well then, under which results are delivered.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vec/card.h"
#include "vec/status.h"

enum { CARD_INDEX = 1, INSTANCE = 3, WORKERS_MAX = 8, POLLS = 4 };

static vec_card_word *word;
static struct vec_matrices *matrices;
static size_t workers;
static unsigned engine[WORKERS_MAX + 1];
static atomic_int stop, forcing, draining;
static atomic_long answers, counted, discarded, refused, turns, violations, cut_short;
/* Odd from an answer until the right is given again; so it differs between any two grants. */
static atomic_ulong epoch;

/* Some steps of the pump need the card to themselves: it gets it now and then. */
static void rest(void)
{
#ifdef FUSED
        struct timespec nap = {.tv_nsec = 200000};

        nanosleep(&nap, NULL);
#endif
}

static void *work(void *argument)
{
        size_t me = (size_t)argument;

        for (; !atomic_load(&stop); rest()) {
                unsigned long then, now;
                int r;

#ifdef NAIVE
                r = vec_card_allows(vec_word_load(word), INSTANCE, VEC_A) ? 0 : -VEC_EDENIED;
                then = atomic_load(&epoch);
#else
                uint64_t generation;

                r = vec_card_enter(word, INSTANCE, VEC_A, 1, &generation);
                then = atomic_load(&epoch);
#endif
                if (r < 0) {
                        atomic_fetch_add(&refused, 1);
                        sched_yield();
                        continue;
                }
                if (atomic_load(&draining))
                        engine[me]++;
                /* Others get their chance while it is inside. */
                sched_yield();
                /* The last moment at which this request is certainly inside. */
                now = atomic_load(&epoch);
#ifndef NAIVE
                r = vec_card_leave(word, 1, generation);
#endif
                if (r < 0) {
                        atomic_fetch_add(&discarded, 1);
                        continue;
                }
                atomic_fetch_add(&counted, 1);
                if (then != now || (then & 1))
                        atomic_fetch_add(&violations, 1);
        }
        return NULL;
}

#ifdef FUSED
enum { LOST = VEC_A | VEC_R };

/* What began at `then` counts: neither was it answered meanwhile, nor had it been answered before. */
static void counts(unsigned long then, unsigned long now)
{
        atomic_fetch_add(&counted, 1);
        if (then != now || (then & 1))
                atomic_fetch_add(&violations, 1);
}

static void wipe(void)
{
        if (atomic_load(&draining))
                for (size_t at = 0; at <= workers; at++)
                        engine[at] = 0;
        /* A wipe takes its time: long enough to be cut short. */
        sched_yield();
}

/* Requests whose end was no single step. */
static void leave(unsigned long then, unsigned long now, uint64_t generation)
{
        if (vec_card_leave(word, 1, generation) == 0)
                counts(then, now);
        else
                atomic_fetch_add(&discarded, 1);
}

/* From wherever a turn was left to control, clean, nothing held but c. */
static void settle(void)
{
        uint64_t seen;

        vec_card_give_back(word, INSTANCE, VEC_R);
        vec_card_give_back(word, INSTANCE, VEC_A);
        if (vec_card_down_begin(word, INSTANCE, &seen) == 0) {
                wipe();
                if (vec_card_down_end(word, seen) < 0)
                        atomic_fetch_add(&cut_short, 1);
        }
        sched_yield();
}

static void *run_card(void *unused)
{
        (void)unused;
        while (!atomic_load(&stop)) {
                uint64_t generation, seen;
                unsigned long then, now;

                if (vec_card_begin_work(word, matrices, CARD_INDEX, INSTANCE, LOST, 1, &generation)) {
                        settle();
                        continue;
                }
                then = atomic_load(&epoch);
                if (atomic_load(&draining))
                        engine[workers]++;
                sched_yield();
                now = atomic_load(&epoch);
                if (vec_card_end_work(word, INSTANCE, 1, generation, &seen)) {
                        leave(then, now, generation);
                        settle();
                        continue;
                }
                counts(then, now);
                wipe();
                if (vec_card_begin_reply(word, matrices, CARD_INDEX, 1, seen, &generation)) {
                        if (vec_card_down_end(word, seen) < 0)
                                atomic_fetch_add(&cut_short, 1);
                        settle();
                        continue;
                }
                then = atomic_load(&epoch);
                sched_yield();
                now = atomic_load(&epoch);
                if (vec_card_end_reply(word, INSTANCE, 1, generation)) {
                        leave(then, now, generation);
                        settle();
                        continue;
                }
                counts(then, now);
                atomic_fetch_add(&turns, 1);
        }
        return NULL;
}
#else
enum { LOST = VEC_A };

static void *run_card(void *unused)
{
        (void)unused;
        while (!atomic_load(&stop)) {
                uint64_t seen;
                uint8_t why;

                if (vec_card_take(word, matrices, CARD_INDEX, INSTANCE, VEC_A, &why) == 0 &&
                    vec_card_up(word, INSTANCE) == 0)
                        atomic_fetch_add(&turns, 1);
                sched_yield();
                if (vec_card_down_begin(word, INSTANCE, &seen) == 0) {
                        if (atomic_load(&draining))
                                for (size_t at = 0; at < workers; at++)
                                        engine[at] = 0;
                        /* A wipe takes its time: long enough to be cut short. */
                        sched_yield();
                        if (vec_card_down_end(word, seen) < 0)
                                atomic_fetch_add(&cut_short, 1);
                }
        }
        return NULL;
}
#endif

static void revoke(void)
{
        uint8_t *cell = &matrices->card_m[CARD_INDEX][INSTANCE];
        uint64_t before;
        int polls = 0;

        vec_cell_store(cell, (VEC_C | VEC_R | VEC_A) & ~LOST);
        while (vec_card_revoke_begin(word, INSTANCE, LOST, &before) < 0)
                if (atomic_load(&forcing) && polls++ == POLLS) {
                        vec_card_revoke_force(word, INSTANCE, LOST, &before);
                        break;
                }
        while (vec_card_drained(word) < 0)
                if (!atomic_load(&draining))
                        vec_card_abort(word);
        if (vec_card_revoke_end(word) < 0)
                atomic_fetch_add(&violations, 1);
        /* The answer. */
        atomic_fetch_add(&epoch, 1);
        atomic_fetch_add(&answers, 1);
        sched_yield();
        if (vec_word_decode(vec_word_load(word)).held & LOST)
                atomic_fetch_add(&violations, 1);
        /* Given again: even before the cell says so, or a take could be quicker than this line. */
        atomic_fetch_add(&epoch, 1);
        vec_cell_store(cell, VEC_C | VEC_R | VEC_A);
}

static int enough(long wanted)
{
#ifdef NAIVE
        (void)wanted;
        return atomic_load(&violations) >= 10;
#else
        /* And what the mode is there for: results written off, steps of the card taken away. */
        return atomic_load(&answers) >= wanted && atomic_load(&turns) >= wanted && atomic_load(&counted) >= wanted &&
               (atomic_load(&draining) || atomic_load(&discarded) >= 10) &&
               (!atomic_load(&forcing) || atomic_load(&cut_short) >= 10);
#endif
}

int main(int argc, char **argv)
{
        pthread_t threads[WORKERS_MAX + 1];
        struct timespec end, now;
        uint64_t seen;
        int fd;

        matrices = calloc(1, sizeof *matrices);
        workers = argc == 5 ? (size_t)atoi(argv[2]) : 0;
        if (workers < 1 || workers > WORKERS_MAX || !matrices || vec_word_create(0, &fd, &word) < 0)
                return 2;
        atomic_store(&draining, strcmp(argv[1], "drain") == 0);
        atomic_store(&forcing, strcmp(argv[1], "force") == 0);
        matrices->card_m[CARD_INDEX][INSTANCE] = VEC_C | VEC_R | VEC_A;
        matrices->card_b[CARD_INDEX][INSTANCE] = VEC_C;
        if (vec_card_connect(word) < 0 || vec_card_switch_begin(word, &seen) < 0 ||
            vec_card_switch_end(word, matrices, CARD_INDEX, INSTANCE, seen) < 0)
                return 2;
        for (size_t at = 0; at < workers; at++)
                if (pthread_create(&threads[at], NULL, work, (void *)at))
                        return 2;
        if (pthread_create(&threads[workers], NULL, run_card, NULL))
                return 2;
        clock_gettime(CLOCK_MONOTONIC, &end);
        end.tv_sec += atoi(argv[4]);
        do {
                struct timespec nap = {.tv_nsec = 20000};

                revoke();
                nanosleep(&nap, NULL);
                clock_gettime(CLOCK_MONOTONIC, &now);
        } while (!enough(atol(argv[3])) && now.tv_sec < end.tv_sec);
        atomic_store(&stop, 1);
        for (size_t at = 0; at <= workers; at++)
                pthread_join(threads[at], NULL);
        printf("violations=%ld answers=%ld turns=%ld counted=%ld discarded=%ld refused=%ld cut_short=%ld\n",
               atomic_load(&violations), atomic_load(&answers), atomic_load(&turns), atomic_load(&counted),
               atomic_load(&discarded), atomic_load(&refused), atomic_load(&cut_short));
        return atomic_load(&violations) != 0;
}
