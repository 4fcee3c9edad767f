/*
 * Every interleaving of card.c itself: one card thread, workers and one guard, on one card word.
 *
 * Each thread is a coroutine that runs the real functions; step_atomics.h makes it stop before each access to the
 * word, to a cell of M or b, and before each thing that the properties are about. The explorer picks who goes on,
 * in every order: depth first, putting back a copy of the world (stacks included) for each branch, and not going on
 * where it has been. A place is the word, the cells, the store buffer, the ghosts, and for each thread the hash of everything
 * it has seen so far, which determines where it stands.
 *
 * Memory is x86-TSO as far as it matters here: the guard's stores to cells go into a store buffer that drains at any
 * time, at the latest at the guard's next locked instruction; all else on the word is locked or a load.
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
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "vec/card.h"
#include "vec/status.h"

enum {
        CARD_INDEX = 2,
        THREADS_MAX = 5,
        FLUSH = THREADS_MAX,           /* the store buffer as somebody who may be picked */
        DEPTH_MAX = 400,
        STACK = 8192,
        BUFFER_MAX = 8,
        PLACES = 1 << 23,
};

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
        struct revocation revocations[3];
        struct vec_word start;
        uint8_t m[4], b[4];
};

/* ---- the world that is put back ---- */

static const struct scenario *scenario;
static vec_card_word *word;
static struct vec_matrices *matrices;

struct thread {
        jmp_buf here;
        char *low;                     /* the stack is in use from here up */
        int done, killed;
        int waiting;                   /* until the word is no longer what it was */
        uint64_t waited_for;
        uint64_t history;              /* of everything seen since the last point */
        uint64_t point;                /* which calls are behind it, and what they answered */
        void (*run)(void);
};

static struct thread threads[THREADS_MAX];
static _Alignas(64) char stacks[THREADS_MAX][STACK];
static int thread_count, current;
static jmp_buf scheduler;

static struct {
        uint8_t *cell[BUFFER_MAX];
        uint8_t value[BUFFER_MAX];
        int count;
} buffer;

/* Ghosts: what the guard has answered. epoch counts answers; revoked is set from an answer until the right returns. */
static struct {
        uint32_t epoch[4][16];
        uint8_t revoked[4];
        uint8_t guard_has_q;
        uint8_t guard_dead;
        uint8_t written_off;
} ghost;

static const char *violation;

static uint64_t mix(uint64_t hash, uint64_t value)
{
        hash ^= value + UINT64_C(0x9e3779b97f4a7c15) + (hash << 6) + (hash >> 2);
        hash *= UINT64_C(0xff51afd7ed558ccd);
        return hash ^ hash >> 32;
}

static void saw(uint64_t value)
{
        threads[current].history = mix(threads[current].history, value);
}

/*
 * A call is over. The functions of card.c keep nothing, and below nothing but the answer is kept, so what was seen
 * on the way is forgotten: many ways, one place.
 */
static void done_with(uint64_t answer)
{
        threads[current].point = threads[current].history = mix(threads[current].point, answer);
}

/* The call is going to be made again, from the start. */
static void again(void)
{
        threads[current].history = threads[current].point;
}

static void violated(const char *what)
{
        if (!violation)
                violation = what;
}

static __attribute__((noinline)) void pause_here(void)
{
        /* Room for what this frame itself holds below its frame address. */
        threads[current].low = (char *)__builtin_frame_address(0) - 256;
        if (!_setjmp(threads[current].here))
                _longjmp(scheduler, 1);
}

static uint64_t *raw(const void *at)
{
        return (uint64_t *)(uintptr_t)at;
}

static void drain_buffer(void)
{
        for (int at = 0; at < buffer.count; at++)
                *buffer.cell[at] = buffer.value[at];
        buffer.count = 0;
}

static int is_guard(void)
{
        return current == thread_count - 1;
}

/* ---- the steps ---- */

uint64_t step_load(const _Atomic uint64_t *at)
{
        pause_here();
        saw(*raw(at));
        return *raw(at);
}

int step_swap(_Atomic uint64_t *at, uint64_t *seen, uint64_t next)
{
        int same;

        pause_here();
        if (is_guard())
                drain_buffer();
        same = *raw(at) == *seen;
        if (same)
                *raw(at) = next;
        else
                *seen = *raw(at);
        saw(same ? 1 : mix(2, *seen));
        return same;
}

uint8_t vec_cell_load(const uint8_t *cell)
{
        pause_here();
        saw(*cell);
        return *cell;
}

void vec_cell_store(uint8_t *cell, uint8_t value)
{
        pause_here();
        buffer.cell[buffer.count] = cell;
        buffer.value[buffer.count++] = value;
        saw(3);
}

/* A thing the properties speak of happens now: between two steps, at a moment of its own. */
static void moment(void)
{
        pause_here();
        saw(4);
}

/* Nothing to do until somebody changes the word. */
static void wait_for_change(void)
{
        threads[current].waiting = 1;
        threads[current].waited_for = *raw(word);
        pause_here();
        again();
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
        uint64_t generation, before = threads[current].point;
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
        done_with(mix(generation, epoch));
        if (reply) {
                moment();
                counts(i, attribute, epoch);
        }
        r = vec_card_leave(word, 1, generation);
        if (r == 0)
                counts(i, attribute, epoch);
        threads[current].point = before;
        done_with((uint64_t)r);
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
        return second_half_done(vec_card_down_end(word, seen));
}

static int switch_to(uint32_t next)
{
        uint64_t seen;
        int r = vec_card_switch_begin(word, &seen);

        if (r < 0)
                return r;
        moment();                      /* the wipe, read back */
        return second_half_done(vec_card_switch_end(word, matrices, CARD_INDEX, next, seen));
}

/* The life cycle of model.md 3a, phases 3 to 8, until somebody says no. */
static int turn(uint32_t i)
{
        int r;

        if ((r = until_free_of_q(take_a, i)) < 0 || (r = until_free_of_q(up, i)) < 0 ||
            (r = work(i, VEC_A, 0)) < 0 || (r = until_free_of_q(down, i)) < 0 ||
            (r = until_free_of_q(take_r, i)) < 0 || (r = work(i, VEC_R, 1)) < 0)
                return r;
        return until_free_of_q(give_back_r, i);
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
        for (int at = 0; at < thread_count - 1; at++)
                threads[at].killed = 1;
}

/* had: the guard's own M[card][i]; the cell itself may still be in its store buffer. */
static void revoke(const struct revocation *which, uint8_t had[4])
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
        uint8_t had[4];

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

/* ---- the explorer ---- */

static uint64_t *places;
static size_t place_count;
static long edges;

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
        uint64_t hash = mix(7, *raw(word));

        for (int at = 0; at < thread_count; at++) {
                hash = mix(hash, threads[at].history);
                hash = mix(hash, (uint64_t)(threads[at].done | threads[at].killed << 1 | threads[at].waiting << 2));
        }
        for (int at = 0; at < 4; at++)
                hash = mix(hash, matrices->card_m[CARD_INDEX][at] | matrices->card_b[CARD_INDEX][at] << 8 |
                                         ghost.revoked[at] << 16);
        for (int at = 0; at < buffer.count; at++)
                hash = mix(mix(hash, (uint64_t)(uintptr_t)buffer.cell[at]), buffer.value[at]);
        for (int at = 0; at < 4; at++)
                for (int attribute = 1; attribute < 16; attribute <<= 1)
                        hash = mix(hash, ghost.epoch[at][attribute]);
        return mix(hash, ghost.guard_has_q | ghost.guard_dead << 1 | ghost.written_off << 2);
}

static void trampoline(void)
{
        threads[current].run();
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
        struct vec_word first = scenario->start;

        *raw(word) = vec_word_encode(&first);
        memset(&ghost, 0, sizeof ghost);
        memset(threads, 0, sizeof threads);
        buffer.count = 0;
        violation = NULL;
        for (int at = 0; at < 4; at++) {
                matrices->card_m[CARD_INDEX][at] = scenario->m[at];
                matrices->card_b[CARD_INDEX][at] = scenario->b[at];
        }
        /* Each up to before its first step: nobody has done anything yet. */
        for (int at = 0; at < thread_count; at++) {
                threads[at].run = at == 0 ? scenario->card : at == thread_count - 1 ? guard : worker;
                threads[at].history = threads[at].point = (uint64_t)at;
                start(at);
        }
}

/* The world before the step at a depth, and who was picked there. */
static struct copy {
        int who;
        uint64_t word;
        uint8_t m[4], b[4];
        struct thread threads[THREADS_MAX];
        char stacks[THREADS_MAX][STACK];
        __typeof__(buffer) buffer;
        __typeof__(ghost) ghost;
} copies[DEPTH_MAX];

/* Copies the part in use of every stack, in the direction asked for. */
static void copy_stacks(struct copy *copy, int back)
{
        for (int at = 0; at < thread_count; at++) {
                size_t from = (size_t)(threads[at].low - stacks[at]), size = STACK - from;

                if (threads[at].done)
                        continue;
                memcpy(back ? &stacks[at][from] : &copy->stacks[at][from],
                       back ? &copy->stacks[at][from] : &stacks[at][from], size);
        }
}

static void keep(struct copy *copy)
{
        copy->word = *raw(word);
        memcpy(copy->m, matrices->card_m[CARD_INDEX], 4);
        memcpy(copy->b, matrices->card_b[CARD_INDEX], 4);
        memcpy(copy->threads, threads, sizeof threads);
        copy->buffer = buffer;
        copy->ghost = ghost;
        copy_stacks(copy, 0);
}

static void put_back(struct copy *copy)
{
        *raw(word) = copy->word;
        memcpy(matrices->card_m[CARD_INDEX], copy->m, 4);
        memcpy(matrices->card_b[CARD_INDEX], copy->b, 4);
        memcpy(threads, copy->threads, sizeof threads);
        buffer = copy->buffer;
        ghost = copy->ghost;
        copy_stacks(copy, 1);
}

static int may_run(int who)
{
        const struct thread *thread = &threads[who];

        if (who == FLUSH)
                return buffer.count > 0;
        if (who >= thread_count || thread->done || thread->killed)
                return 0;
        /* The death of the guard is an event, too: the card sees the end of its connection. */
        return !thread->waiting || *raw(word) != thread->waited_for || (who == 0 && ghost.guard_dead);
}

static void check_now(void)
{
        struct vec_word now = vec_word_decode(*raw(word));
        const char *why;

        if (vec_word_check(*raw(word), &why) < 0)
                violated("word");
        if (now.owner < 4 && (now.held & ghost.revoked[now.owner]))
                violated("survives");
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

static const char *at_rest(void)
{
        /* Without a guard q stays, and who waits for it is told BUSY. */
        if (ghost.guard_dead)
                return threads[0].done ? NULL : "stuck";
        for (int at = 0; at < thread_count; at++)
                if (!threads[at].done && !threads[at].killed)
                        return "stuck";
        if ((*raw(word) & VEC_WORD_Q) && !scenario->kills)
                return "stuck";
        return NULL;
}

/* The next one after `who` that may go on; more than FLUSH when there is none. */
static int next_after(int who)
{
        do
                who++;
        while (who <= FLUSH && !may_run(who));
        return who;
}

/* Every schedule of the scenario; 0, or 1 with the violation printed. */
static int explore(void)
{
        int depth = 0;

        memset(places, 0, sizeof *places * PLACES);
        place_count = 0;
        edges = 0;
        thread_count = scenario->workers + 2;
        start_all();
        for (;;) {
                int who = FLUSH + 1;

                check_now();
                if (!violation && !seen_before(place_now())) {
                        who = next_after(-1);
                        if (who > FLUSH)
                                violation = at_rest();
                }
                if (violation) {
                        printf("%s: VIOLATED %s after:", scenario->name, violation);
                        for (int at = 0; at < depth; at++)
                                printf(" %d", copies[at].who);
                        printf("\n");
                        return 1;
                }
                if (depth == DEPTH_MAX) {
                        fprintf(stderr, "%s: too deep\n", scenario->name);
                        exit(2);
                }
                if (who <= FLUSH)
                        keep(&copies[depth++]);
                /* Been here, or all are done: back to the last place with somebody not yet picked. */
                while (who > FLUSH) {
                        if (depth == 0) {
                                printf("%s: ok, %zu places, %ld steps\n", scenario->name, place_count, edges);
                                return 0;
                        }
                        put_back(&copies[depth - 1]);
                        who = next_after(copies[depth - 1].who);
                        if (who > FLUSH)
                                depth--;
                }
                copies[depth - 1].who = who;
                edges++;
                run(who);
        }
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
        places = calloc(PLACES, sizeof *places);
        if (!matrices || !places || vec_word_create(0, &fd, &word) < 0)
                return 2;
        for (size_t at = 0; at < sizeof scenarios / sizeof scenarios[0]; at++) {
                scenario = &scenarios[at];
                if (argc > 1 ? strcmp(argv[1], scenario->name) != 0 : scenario->by_name)
                        continue;
                ran++;
                failed |= explore();
        }
        return ran ? failed : 2;
}
