/*
 * One violation in a billion operations would be seen: every operation is checked, none is sampled.
 *
 * An operation is enter, a result, leave. The result is stamped with the epoch in which it entered, right after enter;
 * the epoch moves with every answer to a revocation, and again when the right is given back, so it is odd while the
 * right is away and differs between any two grants. Before leave, at the last moment at which the operation is
 * certainly inside, the worker looks at the epoch again. Who receives the result (leave said yes) refuses it if
 *
 *   the stamp is odd        it entered without the right
 *   the two differ          an answer was given while it ran
 *
 * and these are all ways to run under a right after the answer that took it away, but for the few instructions behind
 * the second look. So with n operations received and none refused, there was none among n; that the check itself works
 * at any of them is what a sleeper shows: at operation number N, and only there, a worker does one forbidden thing,
 * and the count of violations has to be exactly 1.
 *
 * CARDS is 1 or 2: the workers share a card, or have one each. The guard revokes a and answers, gives it again, over
 * and over, by begin and drain; who does not drain in time is written off (abort). The card thread takes and goes up
 * whenever it may.
 *
 * usage: billion_card CARDS OPERATIONS SECONDS [no-enter|no-leave N]
 *
 * no-enter: the sleeper waits for an answer, and delivers a result without having entered. no-leave: it enters, is
 * written off, and delivers although leave says no. Built with -DNAIVE a worker asks vec_card_allows and never enters.
 * With -DDELAY every fourth take waits for the next answer between its load of the cell and its swap, where otherwise
 * a few nanoseconds are. Without a sleeper the first violation ends it. One line of counts; exit 1 for violations,
 * 2 if there were fewer operations in the time.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vec/card.h"
#include "vec/status.h"

enum { CARD_INDEX = 1, INSTANCE = 3, WORKERS = 2, BATCH = 4096, POLLS = 4000, PAUSE_NS = 1000000 };
/* How long the right stays away: with a delay, long enough for who should not to be seen. */
#ifdef DELAY
enum { ANSWERED_NS = 500000 };
#else
enum { ANSWERED_NS = 1000 };
#endif
enum sleeper { NONE, NO_ENTER, NO_LEAVE };

/* Workers on one card contend for its word; with a card each there are more operations, and still a guard and a card. */
static int cards;
static vec_card_word *words[WORKERS];
static struct vec_matrices *matrices;
static enum sleeper sleeper;
static long sleeper_at;
static atomic_int stop, slept;

static struct {
        _Alignas(128) atomic_ulong epoch;
        _Alignas(128) atomic_long received;
        atomic_long violations, discarded, refused, answers, aborts, takes;
} shared;

/* What a worker counts, flushed now and then. */
struct counts {
        long received, violations, discarded, refused;
};

static void flush(struct counts *counts)
{
        atomic_fetch_add(&shared.received, counts->received);
        atomic_fetch_add(&shared.violations, counts->violations);
        atomic_fetch_add(&shared.discarded, counts->discarded);
        atomic_fetch_add(&shared.refused, counts->refused);
        memset(counts, 0, sizeof *counts);
}

static void nap(long ns)
{
        const struct timespec time = {.tv_nsec = ns};

        nanosleep(&time, NULL);
}

static unsigned long epoch_now(void)
{
        return atomic_load_explicit(&shared.epoch, memory_order_acquire);
}

#ifdef DELAY
uint8_t slow_cell_load(const uint8_t *cell)
{
        static unsigned count;
        uint8_t value = __atomic_load_n(cell, __ATOMIC_ACQUIRE);

        if ((value & VEC_A) && count++ % 4 == 0)
                while (!(epoch_now() & 1) && !atomic_load(&stop))
                        nap(10000);
        return value;
}
#endif

/* The receiver: whatever counts comes by here. */
static inline void receive(struct counts *counts, unsigned long stamp, unsigned long later)
{
        counts->received++;
        counts->violations += (stamp & 1) | (stamp != later);
}

static int is_the_one(size_t me, long done)
{
        return __builtin_expect(sleeper && me == 0 && done == sleeper_at, 0);
}

/* The one forbidden thing. */
static void forbidden(struct counts *counts, vec_card_word *word)
{
        unsigned long then;
        uint64_t generation;

        if (sleeper == NO_ENTER) {
                while (!(epoch_now() & 1) && !atomic_load(&stop))
                        ;
                then = epoch_now() | 1;
                receive(counts, then, then);
                return;
        }
        while (vec_card_enter(word, INSTANCE, VEC_A, 1, &generation) < 0)
                sched_yield();
        then = epoch_now();
        while (epoch_now() == then && !atomic_load(&stop))
                sched_yield();
        if (vec_card_leave(word, 1, generation) == 0)
                counts->violations += 1000;
        receive(counts, then, epoch_now());
}

static void *work(void *argument)
{
        size_t me = (size_t)argument;
        vec_card_word *word = words[me % (size_t)cards];
        struct counts counts = {0};
        long done = 0;

        while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
                for (int at = 0; at < BATCH; at++) {
                        unsigned long then, later;
                        int r;
#ifdef NAIVE
                        r = vec_card_allows(vec_word_load(word), INSTANCE, VEC_A) ? 0 : -VEC_EDENIED;
#else
                        uint64_t generation;

                        r = vec_card_enter(word, INSTANCE, VEC_A, 1, &generation);
#endif
                        if (r < 0) {
                                counts.refused++;
                                nap(10000);
                                continue;
                        }
                        then = epoch_now();
                        /* The work: as little as there can be, so that there are many. */
                        later = epoch_now();
#ifndef NAIVE
                        r = vec_card_leave(word, 1, generation);
#endif
                        if (r < 0)
                                counts.discarded++;
                        else
                                receive(&counts, then, later);
                        if (is_the_one(me, ++done)) {
                                forbidden(&counts, word);
                                atomic_store(&slept, 1);
                        }
                }
                flush(&counts);
        }
        return NULL;
}

static void *run_card(void *unused)
{
        (void)unused;
        while (!atomic_load(&stop)) {
                int idle = 1;

                for (int at = 0; at < cards; at++) {
                        struct vec_word w = vec_word_decode(vec_word_load(words[at]));
                        uint8_t why;

                        if (w.held & VEC_A)
                                continue;
                        if (vec_card_take(words[at], matrices, CARD_INDEX, INSTANCE, VEC_A, &why) == 0)
                                atomic_fetch_add(&shared.takes, 1);
                        vec_card_up(words[at], INSTANCE);
                        idle = 0;
                }
                if (idle)
                        nap(20000);
        }
        return NULL;
}

static void withdraw(vec_card_word *word)
{
        uint64_t before;
        int polls = 0;

        while (vec_card_revoke_begin(word, INSTANCE, VEC_A, &before) < 0)
                sched_yield();
        while (vec_card_drained(word) < 0) {
                if (polls++ == POLLS) {
                        vec_card_abort(word);
                        atomic_fetch_add(&shared.aborts, 1);
                        break;
                }
                sched_yield();
        }
        if (vec_card_revoke_end(word) < 0)
                atomic_fetch_add(&shared.violations, 1000000);
}

static void withdraw_and_give(void)
{
        uint8_t *cell = &matrices->card_m[CARD_INDEX][INSTANCE];

        vec_cell_store(cell, VEC_C | VEC_R);
        for (int at = 0; at < cards; at++)
                withdraw(words[at]);
        /* The answer. */
        atomic_fetch_add(&shared.epoch, 1);
        atomic_fetch_add(&shared.answers, 1);
        nap(ANSWERED_NS);
        /* Given again. */
        atomic_fetch_add(&shared.epoch, 1);
        vec_cell_store(cell, VEC_C | VEC_R | VEC_A);
}

static double seconds_now(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
        pthread_t threads[WORKERS + 1];
        double start, end;
        long wanted;
        uint64_t seen;
        int fd;

        matrices = calloc(1, sizeof *matrices);
        if ((argc != 4 && argc != 6) || !matrices)
                return 2;
        cards = atoi(argv[1]);
        wanted = atol(argv[2]);
        if (cards < 1 || cards > WORKERS)
                return 2;
        if (argc == 6) {
                sleeper = !strcmp(argv[4], "no-enter") ? NO_ENTER : NO_LEAVE;
                sleeper_at = atol(argv[5]);
        }
        matrices->card_m[CARD_INDEX][INSTANCE] = VEC_C | VEC_R | VEC_A;
        matrices->card_b[CARD_INDEX][INSTANCE] = VEC_C;
        for (int at = 0; at < cards; at++)
                if (vec_word_create(0, &fd, &words[at]) < 0 || vec_card_connect(words[at]) < 0 ||
                    vec_card_switch_begin(words[at], &seen) < 0 ||
                    vec_card_switch_end(words[at], matrices, CARD_INDEX, INSTANCE, seen) < 0)
                        return 2;
        for (size_t at = 0; at < WORKERS; at++)
                if (pthread_create(&threads[at], NULL, work, (void *)at))
                        return 2;
        if (pthread_create(&threads[WORKERS], NULL, run_card, NULL))
                return 2;
        start = seconds_now();
        end = start + atof(argv[3]);
        do {
                withdraw_and_give();
                nap(PAUSE_NS);
        } while ((atomic_load(&shared.received) < wanted || (sleeper && !atomic_load(&slept))) &&
                 (sleeper || !atomic_load(&shared.violations)) && seconds_now() < end);
        end = seconds_now();
        atomic_store(&stop, 1);
        for (size_t at = 0; at <= WORKERS; at++)
                pthread_join(threads[at], NULL);
        printf("violations=%ld received=%ld answers=%ld takes=%ld refused=%ld discarded=%ld aborts=%ld per_second=%.0f\n",
               atomic_load(&shared.violations), atomic_load(&shared.received), atomic_load(&shared.answers),
               atomic_load(&shared.takes), atomic_load(&shared.refused), atomic_load(&shared.discarded),
               atomic_load(&shared.aborts), (double)atomic_load(&shared.received) / (end - start));
        if (atomic_load(&shared.violations))
                return 1;
        return atomic_load(&shared.received) < wanted ? 2 : 0;
}
