/*
 * What the steps on the card word take, uncontended: nanoseconds for enter and leave together, and for all the steps of
 * a turn of the slot's owner. One line for each run: two numbers.
 *
 *     steps RUNS
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "vec/card.h"
#include "vec/shm.h"
#include "vec/status.h"

enum { TIMES = 2000, I = 1, CARD = 0 };

static uint64_t now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int failed;

static void enter_and_leave(vec_card_word *word, uint8_t attribute)
{
        uint64_t generation = 0;

        failed |= vec_card_enter(word, I, attribute, 1, &generation);
        failed |= vec_card_leave(word, 1, generation);
}

/* As step.c has them, from control to control, nobody coming between. */
static void turn(vec_card_word *word, const struct vec_matrices *m)
{
        uint64_t seen = 0, generation = 0;

        failed |= vec_card_begin_work(word, m, CARD, I, VEC_A | VEC_R, 1, &generation);
        failed |= vec_card_end_work(word, I, 1, generation, &seen);
        failed |= vec_card_begin_reply(word, m, CARD, 1, seen, &generation);
        failed |= vec_card_end_reply(word, I, 1, generation);
}

int main(int argc, char **argv)
{
        struct vec_matrices *m;
        vec_card_word *word;
        uint64_t seen, start, middle, end;
        uint8_t why;
        int fd, word_fd, n, run, runs = argc > 1 ? atoi(argv[1]) : 1;

        if (vec_matrices_create(1, 4, &fd, &m) < 0 || vec_word_create(1, &word_fd, &word) < 0)
                return 1;
        m->card_m[CARD][I] = VEC_A | VEC_R | VEC_C;
        m->card_b[CARD][I] = VEC_C;
        if (vec_card_connect(word) < 0 || vec_card_switch_begin(word, &seen) < 0 ||
            vec_card_switch_end(word, m, CARD, I, seen) < 0)
                return 1;
        for (run = 0; run < runs; run++) {
                if (vec_card_take(word, m, CARD, I, VEC_A, &why) < 0 || vec_card_up(word, I) < 0)
                        return 1;
                start = now_ns();
                for (n = 0; n < TIMES; n++)
                        enter_and_leave(word, VEC_A);
                middle = now_ns();
                if (vec_card_down_begin(word, I, &seen) < 0 || vec_card_down_end(word, seen) < 0)
                        return 1;
                end = now_ns();
                printf("%.2f ", (double)(middle - start) / TIMES);
                start = now_ns();
                for (n = 0; n < TIMES; n++)
                        turn(word, m);
                end = now_ns();
                printf("%.2f\n", (double)(end - start) / TIMES);
        }
        return failed ? 1 : 0;
}
