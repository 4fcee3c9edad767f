/*
 * The other ways to revoke, as small models: what docs/shm.md says of them is shown here, under SC, TSO and RA.
 *
 * WORD holds 1 while the right is there. A worker that believes it may works for a moment; the revoker takes the right
 * away, waits for whom it knows of, and answers. Nobody may be at work after the answer.
 *
 *   naive     a worker looks, and works
 *   seqlock   a worker takes a consistent snapshot (sequence, word, sequence), and works
 *   counted   a worker enters: it checks and announces itself in one swap of the word; the revoker waits for the count
 *   slots     a worker announces itself in a slot of its own, looks again, and works; the revoker waits until no slot
 *             names the right, or its worker is dead. Two full fences, each of which can be left out: between slot and
 *             second look, and between the revoker's store and its look at the slots
 *   -dies     the same, and a worker may die inside: the count stays up and the revoker waits for ever; a slot does not
 *             hold up who knows that its worker is dead
 *
 * usage: explore_small MODEL; a line a scenario; 0 if nothing is violated, 1 otherwise
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "explore.h"

enum { WORKERS = 2, REVOKER = WORKERS, SEQUENCE = 1, SLOT = 2, LOCATIONS = SLOT + WORKERS };
enum { MAY = 1, ONE = 2 };             /* of the word: the right, and one request in flight */

static struct scenario {
        const char *name;
        void (*worker)(void);
        void (*revoker)(void);
        int worker_fence, revoker_fence, dies;
} scenario;

static enum memory_model model;
static struct {
        uint8_t working[WORKERS], dead[WORKERS], answered, padding;
} ghost;

static void work(void)
{
        ghost.working[this_thread()] = 1;
        moment();
        if (scenario.dies && this_thread() == 0) {
                ghost.working[0] = 0;
                ghost.dead[0] = 1;
                step();
                return;
        }
        ghost.working[this_thread()] = 0;
}

static int died(void)
{
        return ghost.dead[this_thread() % WORKERS] && this_thread() < WORKERS;
}

static void answer(void)
{
        moment();
        ghost.answered = 1;
}

/* ---- workers ---- */

static void naive(void)
{
        if (load(WORD, memory_order_acquire) & MAY)
                work();
}

static void seqlock(void)
{
        uint64_t sequence = load(SEQUENCE, memory_order_acquire), may;

        if (sequence & 1)
                return;
        may = load(WORD, memory_order_acquire);
        fence(memory_order_acquire);
        if (load(SEQUENCE, memory_order_relaxed) == sequence && (may & MAY))
                work();
}

static void counted(void)
{
        uint64_t seen = load(WORD, memory_order_acquire);

        do {
                if (!(seen & MAY))
                        return;
        } while (!swap_word(WORD, &seen, seen + ONE, memory_order_acq_rel, memory_order_acquire));
        work();
        if (died())
                return;
        seen = load(WORD, memory_order_acquire);
        while (!swap_word(WORD, &seen, seen - ONE, memory_order_acq_rel, memory_order_acquire))
                ;
}

static void slots(void)
{
        int slot = SLOT + this_thread();

        if (!(load(WORD, memory_order_acquire) & MAY))
                return;
        store(slot, 1, memory_order_release);
        if (scenario.worker_fence)
                fence(memory_order_seq_cst);
        if (load(WORD, memory_order_acquire) & MAY)
                work();
        if (!died())
                store(slot, 0, memory_order_release);
}

/* ---- revokers ---- */

static void just_store(void)
{
        store(SEQUENCE, 1, memory_order_relaxed);
        fence(memory_order_release);
        store(WORD, 0, memory_order_release);
        store(SEQUENCE, 2, memory_order_release);
        fence(memory_order_seq_cst);
        answer();
}

static void wait_for_count(void)
{
        uint64_t seen = load(WORD, memory_order_acquire);

        while (!swap_word(WORD, &seen, seen & ~(uint64_t)MAY, memory_order_acq_rel, memory_order_acquire))
                ;
        done_with(0);
        while (load(WORD, memory_order_acquire) != 0)
                wait_for_change();
        answer();
}

static void wait_for_slots(void)
{
        store(WORD, 0, memory_order_release);
        if (scenario.revoker_fence)
                fence(memory_order_seq_cst);
        done_with(0);
        for (int at = 0; at < WORKERS; at++) {
                while (load(SLOT + at, memory_order_acquire) != 0 && !ghost.dead[at])
                        again();
                done_with((uint64_t)at);
        }
        answer();
}

/* ---- the world ---- */

static void reset(void)
{
        memset(&ghost, 0, sizeof ghost);
        memory_reset(model, WORKERS + 1, LOCATIONS, 1);
        memory_set(WORD, MAY);
}

static void check(void)
{
        for (int at = 0; at < WORKERS; at++)
                if (ghost.answered && ghost.working[at])
                        violated("works after the answer");
}

static int woken(int thread)
{
        (void)thread;
        return 0;
}

static const char *at_rest(void)
{
        return ghost.answered ? NULL : "no answer";
}

static const struct scenario scenarios[] = {
        {"naive", naive, just_store, 0, 0, 0},
        {"seqlock", seqlock, just_store, 0, 0, 0},
        {"counted", counted, wait_for_count, 0, 0, 0},
        {"counted-dies", counted, wait_for_count, 0, 0, 1},
        {"slots", slots, wait_for_slots, 1, 1, 0},
        {"slots-dies", slots, wait_for_slots, 1, 1, 1},
        {"slots-no-worker-fence", slots, wait_for_slots, 0, 1, 0},
        {"slots-no-revoker-fence", slots, wait_for_slots, 1, 0, 0},
        {"slots-no-fence", slots, wait_for_slots, 0, 0, 0},
};

int main(int argc, char **argv)
{
        int failed = 0;

        if (argc != 2 || !memory_named(argv[1], &model))
                return 2;
        for (size_t at = 0; at < sizeof scenarios / sizeof scenarios[0]; at++) {
                struct exploration exploration = {
                        .name = scenarios[at].name,
                        .model = model,
                        .thread_count = WORKERS + 1,
                        .run = {scenarios[at].worker, scenarios[at].worker, scenarios[at].revoker},
                        .shared = &ghost,
                        .shared_size = sizeof ghost,
                        .reset = reset,
                        .check = check,
                        .woken = woken,
                        .at_rest = at_rest,
                };

                scenario = scenarios[at];
                failed |= explore(&exploration);
        }
        return failed;
}
