/*
 * The memories of memory.h against the known small programs: which outcomes there are, and which there are not.
 *
 * usage: explore_litmus MODEL; a line a program: its name and every outcome, as the registers in order, sorted. What
 * they have to be stands in test_card_memory.py.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

enum { X, Y, SEQUENCE, LOCATIONS, REGISTERS = 4, OUTCOMES_MAX = 64 };

static uint8_t registers[REGISTERS];
static char outcomes[OUTCOMES_MAX][REGISTERS + 3];
static int outcome_count;

#define RLX memory_order_relaxed
#define ACQ memory_order_acquire
#define REL memory_order_release
#define AR memory_order_acq_rel
#define FULL memory_order_seq_cst

static void get(int into, int location, int order)
{
        registers[into] = (uint8_t)load(location, order);
}

static void add(int location, uint64_t what, int order)
{
        uint64_t seen = load(location, RLX);

        while (!swap_word(location, &seen, seen + what, order, RLX))
                ;
}

static void exchange(int location, uint64_t from, uint64_t to, int order)
{
        swap_word(location, &from, to, order, RLX);
}

/* Two lines each: what the threads do. The comment is the outcome that the program is about. */
static void sb_0(void) { store(X, 1, RLX); get(0, Y, RLX); }
static void sb_1(void) { store(Y, 1, RLX); get(1, X, RLX); }                     /* 00: store buffering */
static void sbf_0(void) { store(X, 1, RLX); fence(FULL); get(0, Y, RLX); }
static void sbf_1(void) { store(Y, 1, RLX); fence(FULL); get(1, X, RLX); }
static void sbx_0(void) { store(X, 1, FULL); get(0, Y, RLX); }
static void sbl_0(void) { store(X, 1, RLX); add(Y, 0, AR); get(0, Y, RLX); }
static void sbl_1(void) { store(Y, 1, RLX); add(X, 0, AR); get(1, X, RLX); }
static void mp_0(void) { store(X, 1, RLX); store(Y, 1, RLX); }
static void mp_1(void) { get(0, Y, RLX); get(1, X, RLX); }                       /* 10: message passing */
static void mpr_0(void) { store(X, 1, RLX); store(Y, 1, REL); }
static void mpr_1(void) { get(0, Y, ACQ); get(1, X, RLX); }
static void mpf_0(void) { store(X, 1, RLX); fence(REL); store(Y, 1, RLX); }
static void mpf_1(void) { get(0, Y, RLX); fence(ACQ); get(1, X, RLX); }
static void lb_0(void) { get(0, X, RLX); store(Y, 1, RLX); }
static void lb_1(void) { get(1, Y, RLX); store(X, 1, RLX); }                     /* 11: load buffering */
static void co_0(void) { store(X, 1, RLX); store(X, 2, RLX); }
static void co_1(void) { get(0, X, RLX); get(1, X, RLX); }                       /* 21, 20, 10: coherence */
static void w_0(void) { store(X, 1, REL); store(Y, 2, REL); }
static void w_1(void) { store(Y, 1, REL); store(X, 2, REL); }                    /* x and y both 1 at the end: 2+2W */
static void iriw_x(void) { store(X, 1, REL); }
static void iriw_y(void) { store(Y, 1, REL); }
static void iriw_0(void) { get(0, X, ACQ); get(1, Y, ACQ); }
static void iriw_1(void) { get(2, Y, ACQ); get(3, X, ACQ); }                     /* 1010: independent reads */
static void inc(void) { add(X, 1, RLX); }                                        /* never less than the sum */
static void rs_1(void) { exchange(Y, 1, 2, RLX); }
static void rs_2(void) { get(0, Y, ACQ); get(1, X, RLX); }                       /* 20: release sequence */
static void own_0(void) { store(X, 1, RLX); get(0, X, RLX); get(1, Y, RLX); }
static void own_1(void) { store(Y, 1, RLX); get(2, Y, RLX); get(3, X, RLX); }    /* 1010: a thread sees its own first */

/* The seqlock of shm.c, orders as there, over two cells. Registers: a snapshot was taken, the cells in it. */
static void seq_0(void)
{
        store(SEQUENCE, 1, RLX);
        fence(REL);
        store(X, 1, REL);
        store(Y, 1, REL);
        store(SEQUENCE, 2, REL);
}

static void snapshot(int with_fence)
{
        uint64_t before = load(SEQUENCE, ACQ), x, y;

        if (before & 1)
                return;
        x = load(X, RLX);
        y = load(Y, RLX);
        if (with_fence)
                fence(ACQ);
        if (load(SEQUENCE, RLX) != before)
                return;
        registers[0] = 1;
        registers[1] = (uint8_t)x;
        registers[2] = (uint8_t)y;
}

static void seq_1(void) { snapshot(1); }
static void seq_2(void) { snapshot(0); }                                         /* 1100: torn */

static const struct program {
        const char *name;
        int ends, threads;             /* ends: the last values of X and Y are registers 2 and 3 */
        void (*run[THREADS_MAX])(void);
} programs[] = {
        {"SB", 0, 2, {sb_0, sb_1}},
        {"SB+fences", 0, 2, {sbf_0, sbf_1}},
        {"SB+xchg-one", 0, 2, {sbx_0, sb_1}},
        {"SB+locked", 0, 2, {sbl_0, sbl_1}},
        {"SB+own", 0, 2, {own_0, own_1}},
        {"MP", 0, 2, {mp_0, mp_1}},
        {"MP+release+acquire", 0, 2, {mpr_0, mpr_1}},
        {"MP+release", 0, 2, {mpr_0, mp_1}},
        {"MP+fences", 0, 2, {mpf_0, mpf_1}},
        {"MP+sequence", 0, 3, {mpr_0, rs_1, rs_2}},
        {"LB", 0, 2, {lb_0, lb_1}},
        {"CoRR", 0, 2, {co_0, co_1}},
        {"2+2W", 1, 2, {w_0, w_1}},
        {"IRIW", 0, 4, {iriw_x, iriw_y, iriw_0, iriw_1}},
        {"seqlock", 0, 2, {seq_0, seq_1}},
        {"seqlock-no-acquire", 0, 2, {seq_0, seq_2}},
        {"increments", 1, 3, {inc, inc, inc}},
};

static enum memory_model model;
static const struct program *program;

static void reset(void)
{
        memset(registers, 0, sizeof registers);
        memory_reset(model, program->threads, LOCATIONS, 1);
}

static void check(void)
{
}

static int woken(int thread)
{
        (void)thread;
        return 0;
}

static const char *at_rest(void)
{
        char said[REGISTERS + 3];

        if (program->ends) {
                registers[2] = (uint8_t)memory_latest(X);
                registers[3] = (uint8_t)memory_latest(Y);
        }
        snprintf(said, sizeof said, "%d%d%d%d", registers[0] % 10, registers[1] % 10, registers[2] % 10,
                 registers[3] % 10);
        for (int at = 0; at < outcome_count; at++)
                if (!strcmp(outcomes[at], said))
                        return NULL;
        if (outcome_count == OUTCOMES_MAX)
                exit(2);
        strcpy(outcomes[outcome_count++], said);
        return NULL;
}

static int by_name(const void *a, const void *b)
{
        return strcmp(a, b);
}

int main(int argc, char **argv)
{
        if (argc != 2 || !memory_named(argv[1], &model))
                return 2;
        for (size_t at = 0; at < sizeof programs / sizeof programs[0]; at++) {
                struct exploration exploration = {
                        .name = programs[at].name,
                        .model = model,
                        .thread_count = programs[at].threads,
                        .shared = registers,
                        .shared_size = sizeof registers,
                        .reset = reset,
                        .check = check,
                        .woken = woken,
                        .at_rest = at_rest,
                };

                program = &programs[at];
                outcome_count = 0;
                memcpy(exploration.run, program->run, sizeof exploration.run);
                explore(&exploration);
                qsort(outcomes, (size_t)outcome_count, sizeof outcomes[0], by_name);
                for (int outcome = 0; outcome < outcome_count; outcome++)
                        printf(" %s", outcomes[outcome]);
                printf("\n");
        }
        return 0;
}
