/*
 * Every interleaving of card.c itself: one card thread, workers and one guard, on one card word.
 *
 * explore.h has the method; step_atomics.h makes card.c itself stop before each access to the word.
 *
 * What must hold, at every step:
 *   survives   after the answer to a revocation, and until the right is given again, the word does not hold it
 *   enters     nothing enters under a right after the answer
 *   stale      no result counts (leave answers 0, or a reply goes out) that entered before an answer given since
 *   two-q      no second half of the card succeeds while q is the guard's
 *   word       vec_word_check allows every word
 *   stuck      nobody waits for ever, and q is clear when all are done
 *
 * usage: explore_card [SCENARIO]; a line a scenario; exit 1 and the schedule on a violation. In a schedule 0 is the
 * card, the last number before 5 the guard, the ones between are workers, and 5 is the store buffer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"
#include "vec/card.h"
#include "vec/status.h"

enum { CARD_INDEX = 2, INSTANCES = 4 };

/* ---- what a scenario is ---- */

enum { PATIENT, FORCE };

struct revocation {
        uint32_t i;
        uint8_t lost;
        int give_again;
};

struct scenario {
        const char *name;
        void (*card)(void);
        int workers;
        int guard_style;
        int kills;                     /* the guard ends the card process before force or abort */
        int by_name;                   /* shows what is not promised: only run when it is asked for */
        int dies;                      /* the guard dies after begin; the card writes the word off */
        int settles;                   /* instead of revoking, the guard settles and connects */
        struct revocation revocations[4];  /* ends with one that loses nothing */
        struct vec_word start;
        uint8_t m[INSTANCES], b[INSTANCES];
};

static const struct scenario *scenario;
static enum memory_model model;
static vec_card_word *word;
static struct vec_matrices *matrices;

/* Ghosts: what the guard has answered. epoch counts answers; revoked is set from an answer until the right returns. */
static struct {
        uint32_t epoch[INSTANCES][16];
        uint8_t revoked[INSTANCES];
        uint8_t guard_has_q, guard_dead, written_off, padding;
} ghost;

/* ---- the steps: step_atomics.h puts these under card.c and shm.c ---- */

/* WORD, then M and b of the two instances, then what each thread has of the engine, and the replies. */
enum { M_OF = 0, B_OF = 2, ENGINE = 5, REPLY = ENGINE + THREADS_MAX, LOCATIONS };

static int guard_thread(void)
{
        return scenario->workers + 1;
}

static int location_of(const void *at)
{
        if (at == word)
                return WORD;
        for (int i = 1; i <= 2; i++) {
                if (at == &matrices->card_m[CARD_INDEX][i])
                        return M_OF + i;
                if (at == &matrices->card_b[CARD_INDEX][i])
                        return B_OF + i;
        }
        fprintf(stderr, "%s: an access to something else\n", scenario->name);
        exit(2);
}

uint64_t step_load(const void *at, int order)
{
        return load(location_of(at), order);
}

void step_store(const void *at, uint64_t value, int order)
{
        if (!scenario)
                memcpy((void *)(uintptr_t)at, &value, sizeof value);    /* vec_word_create, before there is a world */
        else
                store(location_of(at), value, order);
}

int step_swap(const void *at, uint64_t *seen, uint64_t next, int yes, int no)
{
        return swap_word(location_of(at), seen, next, yes, no);
}

uint64_t step_or(const void *at, uint64_t bits, int order)
{
        uint64_t seen = load(location_of(at), memory_order_relaxed);

        while (!swap_word(location_of(at), &seen, seen | bits, order, memory_order_relaxed))
                ;
        return seen;
}

/*
 * Plain data. Where the guard writes off what is in flight without ending the process, a thread may still be at work
 * in there: nothing is promised about it.
 */
static int data_are_quiet(void)
{
        return scenario->guard_style == PATIENT || scenario->kills;
}

static void touch_all(int replies)
{
        for (int at = 0; data_are_quiet() && at < guard_thread(); at++)
                touch(ENGINE + at);
        if (data_are_quiet() && replies)
                touch(REPLY);
}

/* ---- the threads ---- */

static uint32_t epoch_of(uint32_t i, uint8_t attribute)
{
        return ghost.epoch[i][attribute];
}

static void entered(uint32_t i, uint8_t attribute)
{
        if (ghost.revoked[i] & attribute)
                violated("enters");
}

/* Result counts, or bytes go out: at this moment nothing may have been answered since the enter. */
static void counts(uint32_t i, uint8_t attribute, uint32_t epoch)
{
        if (epoch != epoch_of(i, attribute) || ghost.written_off)
                violated("stale");
}

static int second_half_done(int r)
{
        if (r == 0 && ghost.guard_has_q)
                violated("two-q");
        return r;
}

/* One batch of data: what has been computed counts if leave says so. */
static int work(uint32_t i, uint8_t attribute, int reply)
{
        uint64_t generation, before = point();
        uint32_t epoch;
        int r;

        while ((r = vec_card_enter(word, i, attribute, 1, &generation)) == -VEC_EBUSY)
                wait_for_change();
        if (r < 0) {
                done_with((uint64_t)r);
                return r;
        }
        /* No step since the swap: this is the epoch in which it entered. */
        epoch = epoch_of(i, attribute);
        entered(i, attribute);
        if (data_are_quiet())
                touch(ENGINE + this_thread());
        done_with(mix(generation, epoch));
        if (reply) {
                moment();
                counts(i, attribute, epoch);
                if (data_are_quiet())
                        touch(REPLY);
        }
        r = vec_card_leave(word, 1, generation);
        if (r == 0)
                counts(i, attribute, epoch);
        back_to(mix(before, (uint64_t)r));
        return r;
}

static int until_free_of_q(int (*step)(uint32_t i), uint32_t i)
{
        int r;

        while ((r = step(i)) == -VEC_EBUSY)
                wait_for_change();
        done_with((uint64_t)r);
        return r;
}

static int take_a(uint32_t i)
{
        uint8_t why;

        return vec_card_take(word, matrices, CARD_INDEX, i, VEC_A, &why);
}

static int take_r(uint32_t i)
{
        uint8_t why;

        return vec_card_take(word, matrices, CARD_INDEX, i, VEC_R, &why);
}

static int up(uint32_t i)
{
        return vec_card_up(word, i);
}

static int give_back_r(uint32_t i)
{
        return vec_card_give_back(word, i, VEC_R);
}

static int down(uint32_t i)
{
        uint64_t seen;
        int r = vec_card_down_begin(word, i, &seen);

        if (r < 0)
                return r;
        moment();                      /* the wipe */
        touch_all(0);
        return second_half_done(vec_card_down_end(word, seen));
}

static int switch_to(uint32_t next)
{
        uint64_t seen;
        int r = vec_card_switch_begin(word, &seen);

        if (r < 0)
                return r;
        moment();                      /* the wipe, read back */
        touch_all(0);
        return second_half_done(vec_card_switch_end(word, matrices, CARD_INDEX, next, seen));
}

/* The life cycle of docs/model.md, phases 3 to 8, until somebody says no. */
static int turn(uint32_t i)
{
        int r;

        if ((r = until_free_of_q(take_a, i)) < 0 || (r = until_free_of_q(up, i)) < 0 ||
            (r = work(i, VEC_A, 0)) < 0 || (r = until_free_of_q(down, i)) < 0 ||
            (r = until_free_of_q(take_r, i)) < 0 || (r = work(i, VEC_R, 1)) < 0)
                return r;
        return until_free_of_q(give_back_r, i);
}

/* From r on, step by step. */
static int reply(uint32_t i)
{
        int r;

        if ((r = until_free_of_q(take_r, i)) < 0 || (r = work(i, VEC_R, 1)) < 0)
                return r;
        return until_free_of_q(give_back_r, i);
}

/* Leave, where several steps at once were not possible. */
static int left(uint32_t i, uint8_t attribute, uint64_t generation, uint32_t epoch, uint64_t before)
{
        int r = vec_card_leave(word, 1, generation);

        if (r == 0)
                counts(i, attribute, epoch);
        back_to(mix(before, (uint64_t)r));
        return r;
}

/* The same turn as the pump has it: several steps in one change, and step by step where that says not now. */
static int fused_turn(uint32_t i)
{
        uint64_t generation, seen, before = point();
        uint32_t epoch;
        int r;

        if (vec_card_begin_work(word, matrices, CARD_INDEX, i, VEC_A, 1, &generation) != 0) {
                done_with(1);
                return turn(i);
        }
        epoch = epoch_of(i, VEC_A);
        entered(i, VEC_A);
        if (data_are_quiet())
                touch(ENGINE + this_thread());
        done_with(mix(generation, epoch));
        if (vec_card_end_work(word, i, 1, generation, &seen) != 0) {
                if ((r = left(i, VEC_A, generation, epoch, before)) < 0 || (r = until_free_of_q(down, i)) < 0)
                        return r;
                return reply(i);
        }
        counts(i, VEC_A, epoch);
        back_to(mix(before, seen));
        moment();                      /* the wipe */
        touch_all(0);
        if (vec_card_begin_reply(word, matrices, CARD_INDEX, 1, seen, &generation) != 0) {
                r = second_half_done(vec_card_down_end(word, seen));
                back_to(mix(before, (uint64_t)r));
                return r < 0 ? r : reply(i);
        }
        second_half_done(0);
        epoch = epoch_of(i, VEC_R);
        entered(i, VEC_R);
        back_to(mix(mix(before, generation), epoch));
        moment();
        counts(i, VEC_R, epoch);
        if (data_are_quiet())
                touch(REPLY);
        if (vec_card_end_reply(word, i, 1, generation) == 0) {
                counts(i, VEC_R, epoch);
                back_to(mix(before, 2));
                return 0;
        }
        left(i, VEC_R, generation, epoch, before);
        return until_free_of_q(give_back_r, i);
}

static void card_fused_turn(void)
{
        if (fused_turn(1) < 0)
                until_free_of_q(switch_to, VEC_NONE);
}

static void card_two_fused_turns(void)
{
        if (fused_turn(1) < 0)
                until_free_of_q(switch_to, 1);
        fused_turn(1);
}

static void card_one_turn(void)
{
        /* Told no in the middle: wipe and hand over, as the pump does. */
        if (turn(1) < 0)
                until_free_of_q(switch_to, VEC_NONE);
}

static void card_two_turns(void)
{
        if (turn(1) < 0)
                until_free_of_q(switch_to, 1);
        turn(1);
}

static void card_switches(void)
{
        until_free_of_q(switch_to, 2);
        if (until_free_of_q(take_a, 2) == 0 && until_free_of_q(up, 2) == 0)
                work(2, VEC_A, 0);
        until_free_of_q(switch_to, 1);
        until_free_of_q(take_a, 1);
}

/* No reply goes out here, so the guard may cut it short at any time without ending it. */
static void card_up_and_down(void)
{
        if (until_free_of_q(take_a, 1) == 0 && until_free_of_q(up, 1) == 0 && work(1, VEC_A, 0) == 0 &&
            until_free_of_q(down, 1) == 0 && until_free_of_q(up, 1) == 0 && until_free_of_q(down, 1) == 0)
                return;
        until_free_of_q(switch_to, 1);
}

static void card_yields(void)
{
        until_free_of_q(switch_to, VEC_NONE);
        until_free_of_q(switch_to, 1);
        until_free_of_q(take_a, 1);
}

/* A turn until the guard is gone, then the word is written off. */
static void card_sees_death(void)
{
        if (until_free_of_q(take_a, 1) == 0 && until_free_of_q(up, 1) == 0) {
                while (!ghost.guard_dead)
                        wait_for_change();
        }
        vec_card_quiesce(word);
        ghost.written_off = 1;
}

static void worker(void)
{
        /* The pump gives work to a worker only in `using`; one that looks too early finds nothing to do. */
        work(1, VEC_A, 0);
}

static void kill_card(void)
{
        for (int at = 0; at < guard_thread(); at++)
                end_thread(at);
}

/* had: the guard's own M[card][i]; the cell itself may still be in its store buffer. */
static void revoke(const struct revocation *which, uint8_t had[INSTANCES])
{
        uint8_t *m = &matrices->card_m[CARD_INDEX][which->i], *b = &matrices->card_b[CARD_INDEX][which->i];
        uint64_t before;
        int r;

        vec_cell_store(m, had[which->i] & (uint8_t)~which->lost);
        if (which->lost & VEC_C)
                vec_cell_store(b, 0);
        done_with(0);
        while ((r = vec_card_revoke_begin(word, which->i, which->lost, &before)) == -VEC_EBUSY) {
                if (scenario->guard_style == FORCE) {
                        if (scenario->kills)
                                kill_card();
                        r = vec_card_revoke_force(word, which->i, which->lost, &before);
                        break;
                }
                wait_for_change();
        }
        done_with((uint64_t)r);
        /* 1 is what a mutant says that saw no need for a swap. */
        if (r == 0) {
                ghost.guard_has_q = 1;
                if (scenario->dies) {
                        ghost.guard_dead = 1;
                        return;
                }
                while (vec_card_drained(word) == -VEC_EBUSY) {
                        if (scenario->guard_style == FORCE) {
                                if (scenario->kills)
                                        kill_card();
                                vec_card_abort(word);
                                again();
                        } else {
                                wait_for_change();
                        }
                }
                /* Nothing runs any more: whatever did is over, and not only as far as the count goes. */
                if (scenario->guard_style == PATIENT)
                        touch_all(1);
                done_with(1);
                /* q is handed back by the very swap of end: no step of anybody lies between it and this line. */
                r = vec_card_revoke_end(word);
                ghost.guard_has_q = 0;
                if (r < 0)
                        violated("stuck");
                done_with((uint64_t)r);
        }
        /* The answer. */
        moment();
        for (unsigned attribute = 1; attribute < 16; attribute <<= 1)
                if ((which->lost & attribute) || (which->lost & VEC_C))
                        ghost.epoch[which->i][attribute]++;
        ghost.revoked[which->i] |= which->lost & VEC_C ? VEC_R | VEC_W | VEC_A | VEC_C : which->lost;
        if (which->give_again) {
                ghost.revoked[which->i] = 0;
                vec_cell_store(m, had[which->i]);
        } else {
                had[which->i] &= (uint8_t)~which->lost;
        }
        done_with(2);
}

static void guard(void)
{
        uint8_t had[INSTANCES];

        memcpy(had, scenario->m, sizeof had);
        if (scenario->settles) {
                int r = vec_card_settle(word);

                done_with((uint64_t)r);
                if (r == 0)
                        vec_card_connect(word);
                return;
        }
        for (const struct revocation *at = scenario->revocations; at->lost; at++) {
                revoke(at, had);
                if (ghost.guard_dead)
                        return;
        }
}

/* ---- the properties at every place ---- */

static void reset(void)
{
        struct vec_word first = scenario->start;

        memset(&ghost, 0, sizeof ghost);
        memory_reset(model, guard_thread() + 1, LOCATIONS, 0);
        memory_set(WORD, vec_word_encode(&first));
        for (int i = 1; i <= 2; i++) {
                memory_set(M_OF + i, scenario->m[i]);
                memory_set(B_OF + i, scenario->b[i]);
        }
        for (int at = ENGINE; at < LOCATIONS; at++)
                memory_set_plain(at);
}

static void check(void)
{
        uint64_t latest = memory_latest(WORD);
        struct vec_word now = vec_word_decode(latest);
        const char *why;

        if (vec_word_check(latest, &why) < 0)
                violated("word");
        if (now.owner < INSTANCES && (now.held & ghost.revoked[now.owner]))
                violated("survives");
}

/* The death of the guard is an event, too: the card sees the end of its connection. */
static int woken(int thread)
{
        return thread == 0 && ghost.guard_dead;
}

static const char *at_rest(void)
{
        /* Without a guard q stays, and who waits for it is told BUSY. */
        if (ghost.guard_dead)
                return thread_is_done(0) ? NULL : "stuck";
        for (int at = 0; at < scenario->workers + 2; at++)
                if (!thread_is_done(at) && !thread_is_ended(at))
                        return "stuck";
        return (memory_latest(WORD) & VEC_WORD_Q) && !scenario->kills ? "stuck" : NULL;
}

static int run_scenario(void)
{
        struct exploration exploration = {
                .name = scenario->name,
                .model = model,
                .thread_count = scenario->workers + 2,
                .run = {scenario->card, worker, worker, worker},
                .shared = &ghost,
                .shared_size = sizeof ghost,
                .reset = reset,
                .check = check,
                .woken = woken,
                .at_rest = at_rest,
        };

        exploration.run[guard_thread()] = guard;
        return explore(&exploration);
}

#define OWNED(bits) {.held = VEC_C | (bits), .status = VEC_CONTROL, .owner = 1}
#define NOBODY {.status = VEC_CONTROL, .owner = VEC_NONE}
#define RAC (VEC_R | VEC_A | VEC_C)
#define BOTH .m = {0, RAC, RAC}, .b = {0, VEC_C, VEC_C}

static const struct scenario scenarios[] = {
        {"revoke-a", card_one_turn, 1, PATIENT, .revocations = {{1, VEC_A, 0}}, .start = OWNED(0), BOTH},
        {"revoke-r", card_one_turn, 1, PATIENT, .revocations = {{1, VEC_R, 0}}, .start = OWNED(0), BOTH},
        {"revoke-c", card_one_turn, 1, PATIENT, .revocations = {{1, VEC_C, 0}}, .start = OWNED(0), BOTH},
        {"revoke-a-two-workers", card_one_turn, 2, PATIENT, .revocations = {{1, VEC_A, 0}}, .start = OWNED(0), BOTH},
        {"revoke-a-then-c", card_one_turn, 1, PATIENT, .revocations = {{1, VEC_A, 0}, {1, VEC_C, 0}},
         .start = OWNED(0), BOTH},
        {"revoke-a-give-again", card_two_turns, 0, PATIENT, .revocations = {{1, VEC_A, 1}, {1, VEC_A, 0}},
         .start = OWNED(0), BOTH},
        {"revoke-r-give-again", card_two_turns, 0, PATIENT, .revocations = {{1, VEC_R, 1}, {1, VEC_R, 0}},
         .start = OWNED(0), BOTH},
        {"revoke-three", card_two_turns, 0, PATIENT,
         .revocations = {{1, VEC_A, 1}, {1, VEC_R, 1}, {1, VEC_C, 0}}, .start = OWNED(0), BOTH},
        {"revoke-both", card_switches, 1, PATIENT, .revocations = {{1, VEC_A, 1}, {2, VEC_C, 0}, {1, VEC_C, 0}},
         .start = {.held = VEC_C | VEC_A, .status = VEC_USING, .owner = 1}, BOTH},
        /* Abort while a worker is inside: its result must not count. The card thread enters nothing with r here. */
        {"abort-a", card_switches, 1, FORCE, .revocations = {{1, VEC_A, 1}, {1, VEC_A, 0}},
         .start = {.held = VEC_C | VEC_A, .status = VEC_USING, .owner = 1}, BOTH},
        {"abort-c", card_switches, 2, FORCE, .revocations = {{1, VEC_C, 0}},
         .start = {.held = VEC_C | VEC_A, .status = VEC_USING, .owner = 1}, BOTH},
        {"force-turn-killed", card_one_turn, 1, FORCE, .kills = 1, .revocations = {{1, VEC_A, 0}, {1, VEC_C, 0}},
         .start = OWNED(0), BOTH},
        {"force-r-over-down", card_two_turns, 0, FORCE, .kills = 1, .revocations = {{1, VEC_R, 1}, {1, VEC_R, 0}},
         .start = OWNED(0), BOTH},
        {"force-over-down", card_up_and_down, 1, FORCE, .revocations = {{1, VEC_R, 0}, {1, VEC_A, 0}},
         .start = OWNED(0), BOTH},
        {"fused-revoke-a", card_fused_turn, 1, PATIENT, .revocations = {{1, VEC_A, 0}}, .start = OWNED(0), BOTH},
        {"fused-revoke-r", card_fused_turn, 1, PATIENT, .revocations = {{1, VEC_R, 0}}, .start = OWNED(0), BOTH},
        {"fused-revoke-c", card_fused_turn, 1, PATIENT, .revocations = {{1, VEC_C, 0}}, .start = OWNED(0), BOTH},
        {"fused-a-give-again", card_two_fused_turns, 0, PATIENT, .revocations = {{1, VEC_A, 1}, {1, VEC_A, 0}},
         .start = OWNED(0), BOTH},
        {"fused-r-give-again", card_two_fused_turns, 0, PATIENT, .revocations = {{1, VEC_R, 1}, {1, VEC_R, 0}},
         .start = OWNED(0), BOTH},
        {"fused-killed", card_fused_turn, 1, FORCE, .kills = 1, .revocations = {{1, VEC_A, 0}, {1, VEC_C, 0}},
         .start = OWNED(0), BOTH},
        {"fused-force-r-over-down", card_two_fused_turns, 0, FORCE, .kills = 1,
         .revocations = {{1, VEC_R, 1}, {1, VEC_R, 0}}, .start = OWNED(0), BOTH},
        {"force-switch", card_switches, 0, FORCE, .revocations = {{2, VEC_C, 0}, {1, VEC_A, 0}}, .start = OWNED(0), BOTH},
        {"switch-to-revoked", card_switches, 0, PATIENT, .revocations = {{2, VEC_C, 0}}, .start = OWNED(0), BOTH},
        {"switch-from-revoked", card_switches, 0, PATIENT, .revocations = {{1, VEC_C, 0}, {2, VEC_A, 0}},
         .start = OWNED(0), BOTH},
        {"yield-from-nobody", card_yields, 0, PATIENT, .revocations = {{1, VEC_C, 0}}, .start = NOBODY, BOTH},
        {"settle-connect", card_yields, 0, PATIENT, .settles = 1, .start = NOBODY, BOTH},
        /* Aborting while a reply goes out: the guard has to end the process first, or old bytes leave. */
        {"abort-reply", card_one_turn, 0, FORCE, .by_name = 1, .revocations = {{1, VEC_R, 0}}, .start = OWNED(0), BOTH},
        {"guard-dies", card_sees_death, 2, PATIENT, .dies = 1, .revocations = {{1, VEC_R, 0}}, .start = OWNED(0), BOTH},
};

int main(int argc, char **argv)
{
        int failed = 0, ran = 0, fd;

        matrices = calloc(1, sizeof *matrices);
        if (argc < 2 || !matrices || vec_word_create(0, &fd, &word) < 0)
                return 2;
        if (!memory_named(argv[1], &model))
                return 2;
        for (size_t at = 0; at < sizeof scenarios / sizeof scenarios[0]; at++) {
                int wanted = argc == 2 && !scenarios[at].by_name;

                for (int name = 2; name < argc; name++)
                        wanted |= !strcmp(argv[name], scenarios[at].name);
                if (!wanted)
                        continue;
                scenario = &scenarios[at];
                ran++;
                failed |= run_scenario();
        }
        return ran ? failed : 2;
}
