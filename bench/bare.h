/*
 * The turn without its monitor, for bench/monitor.py alone and never shipped: copies of step.c and turn.c are compiled
 * with this after their includes. The steps on the card word, the cells of M and b, enter and leave become nothing;
 * everything else stays as it is, the wipe too, unless VEC_BENCH_UNWIPED takes that out as well.
 */
#ifndef VEC_BENCH_BARE_H
#define VEC_BENCH_BARE_H

#include "turn_parts.h"

static struct vec_word bare_word = { .status = VEC_CONTROL, .owner = VEC_NONE };

static inline int bare_yes(void)
{
        return 0;
}

static inline int bare_seen(uint64_t *ret)
{
        *ret = 0;
        return 0;
}

static inline int bare_switch_end(uint32_t next)
{
        bare_word.owner = (uint16_t)next;
        return 0;
}

#define vec_word_decode(word) bare_word
#define vec_cell_load(cell) ((void)(cell), (uint8_t)0xff)
#define vec_card_take(word, m, card, i, attribute, why) bare_yes()
#define vec_card_give_back(word, i, attribute) bare_yes()
#define vec_card_up(word, i) bare_yes()
#define vec_card_down_begin(word, i, seen) bare_seen(seen)
#define vec_card_down_end(word, seen) ((void)(seen), bare_yes())
#define vec_card_switch_begin(word, seen) bare_seen(seen)
#define vec_card_switch_end(word, m, card, next, seen) ((void)(seen), bare_switch_end(next))
#define vec_card_enter(word, i, attribute, n, generation) bare_seen(generation)
#define vec_card_begin_work(word, m, card, i, needs, n, generation) (bare_word.owner == (i) ? bare_seen(generation) : 1)
#define vec_card_end_work(word, i, n, generation, seen) ((void)(generation), bare_seen(seen))
#define vec_card_begin_reply(word, m, card, n, seen, generation) ((void)(seen), bare_seen(generation))
#define vec_card_end_reply(word, i, n, generation) ((void)(generation), bare_yes())
#define vec_card_leave(word, n, generation) ((void)(generation), bare_yes())

#ifdef VEC_BENCH_UNWIPED
#define vec_input_wipe(turn) ((turn)->input_wiped = 1, 0)
#endif

#endif
