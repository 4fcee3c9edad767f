/*
 * card.c against the rules: what every step answers and leaves behind, in every reachable state of a small world.
 *
 * The table (steps_table.py) was made by the real rules: state and request in, answer and state out. Here the same
 * request is made of card.c, on a real word and real cells. What the card process and the guard do around a step
 * (wipe, drop a key slot, store a cell, settle) is done as docs/shm.md says. Afterwards all of it has to be what the
 * table says: every cell, every field of every card word, engine, output and key slots. The generation is no part of
 * the model's state; it has to move exactly as documented: one at the end of a revocation, a switch, a force, an abort
 * and a settle that sets free, and not otherwise.
 *
 * usage: steps_card TABLE every
 *        steps_card TABLE walk STEPS SEED
 *
 * every: each state, each operation; and again with q set (busy, nothing changes; a revocation by force goes through),
 * with requests in flight (what needs none is busy; a revocation waits, or writes them off), and for each instance a
 * turn in four changes of the word, which has to come to what its rules come to one after the other.
 * walk: STEPS steps in one go without ever putting the memory right, with requests left in flight over other steps,
 * revocations by begin, by force, and in the middle of a down or a switch, across the wrap of the generation.
 *
 * One line of counts; exit 1 with the first difference, 2 where the table is none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "steps_world.h"
#include "vec/status.h"
#include "vec/wire.h"

static long walked, cut_short, in_flight;

/* ---- several steps in one change ---- */

static long fused_turns;

/* The operation of that kind in the table; every world has those of a turn. */
static uint32_t find(enum kind kind, uint32_t k, uint32_t i, uint8_t attribute)
{
        for (uint32_t at = 0; at < table.operations; at++) {
                const struct operation *o = &table.operation[at];

                if (o->kind == kind && o->k == k && o->i == i && o->attribute == attribute)
                        return at;
        }
        differs("the table has no %s", name_of(kind));
}

/* Whether the rule says yes in *state, which then is the state after it. */
static int goes(uint32_t *state, enum kind kind, uint32_t k, uint32_t i, uint8_t attribute)
{
        uint32_t row = answer_at(*state, find(kind, k, i, attribute));

        if (row >> 24 & 1)
                *state = row & 0xFFFFFF;
        return row >> 24 & 1;
}

enum { BATCH = 3 };

/* From using, with BATCH requests of i in flight: leave and down, take r and enter, leave and give back r. */
static uint32_t fused_rest(uint32_t s, uint32_t k, uint32_t i, uint64_t generation)
{
        struct card *card = &cards[k];
        uint64_t seen = 0, more;

        if (vec_card_end_work(words[k], index_of[i], BATCH - 1, generation, &seen) != 1 ||
            vec_card_end_work(words[k], index_of[i], BATCH, generation + 1, &seen) != 1 ||
            vec_card_end_work(words[k], index_of[i] ^ 1, BATCH, generation, &seen) != 1)
                differs("work ends for another");
        if (vec_card_enter(words[k], index_of[i], VEC_A, 1, &more) < 0 ||
            vec_card_end_work(words[k], index_of[i], BATCH, generation, &seen) != 1 ||
            vec_card_leave(words[k], 1, more) < 0)
                differs("work ends while somebody else is inside");
        compare(s, 0);
        if (vec_card_end_work(words[k], index_of[i], BATCH, generation, &seen) != 0)
                differs("work does not end");
        card->inflight = 0;
        if (seen != vec_word_load(words[k]))
                differs("end_work says another word");
        compare(s, 1U << k);
        card->context = NOBODY;
        if (!goes(&s, DOWN, k, i, 0))
                differs("R11 says no, and work has ended");
        if (!goes(&s, TAKE, k, i, VEC_R)) {
                if (vec_card_begin_reply(words[k], matrices, card_of[k], BATCH, seen, &generation) != 1 ||
                    seen != vec_word_load(words[k]))
                        differs("a reply begins against R4, or changes something");
                if (vec_card_down_end(words[k], seen) < 0)
                        differs("down_end after a reply that did not begin");
                return s;
        }
        if (vec_card_begin_reply(words[k], matrices, card_of[k], BATCH, seen + 1, &generation) != 1 ||
            seen != vec_word_load(words[k]))
                differs("a reply begins from another word");
        if (vec_card_begin_reply(words[k], matrices, card_of[k], BATCH, seen, &generation) != 0 ||
            generation != card->generation)
                differs("a reply does not begin, or in another generation");
        card->inflight = BATCH;
        compare(s, 0);
        if (vec_card_end_reply(words[k], index_of[i], BATCH - 1, generation) != 1 ||
            vec_card_end_reply(words[k], index_of[i], BATCH, generation + 1) != 1 ||
            vec_card_end_reply(words[k], index_of[i] ^ 1, BATCH, generation) != 1)
                differs("a reply ends for another");
        compare(s, 0);
        if (vec_card_end_reply(words[k], index_of[i], BATCH, generation) != 0)
                differs("a reply does not end");
        card->inflight = 0;
        if (!goes(&s, GIVE_BACK, k, i, VEC_R))
                differs("R6 says no, and r is given back");
        return s;
}

/* A turn of i on k from here: four changes of the word, or none; what the rules come to one after the other. */
static uint32_t fused_turn(uint32_t s, uint32_t k, uint32_t i)
{
        struct card *card = &cards[k];
        uint32_t up = s;
        int may = !card->inflight && goes(&up, TAKE, k, i, VEC_A) && goes(&up, UP, k, i, 0);
        uint64_t generation = 0;
        int r = vec_card_begin_work(words[k], matrices, card_of[k], index_of[i], VEC_A, BATCH, &generation);

        if (r != !may)
                differs("begin_work says %d, the rules %s", r, may ? "yes" : "no");
        if (r) {
                compare(s, 0);
                return s;
        }
        if (generation != card->generation)
                differs("work begins in another generation");
        card->inflight = BATCH;
        compare(up, 0);
        fused_turns++;
        return fused_rest(up, k, i, generation);
}

/* ---- every state, every operation ---- */

static void check_plain(uint32_t s, uint32_t at)
{
        const struct operation *o = &table.operation[at];
        uint32_t row = answer_at(s, at), after = row & 0xFFFFFF, causes = row >> 26;
        int yes = row >> 24 & 1, r;
        uint8_t why = 0;

        put(s);
        /* Nobody's slot is settled away, whoever asks. */
        for (uint32_t k = 0; k < table.cards; k++)
                if (vec_word_decode(vec_word_load(words[k])).owner != VEC_NONE &&
                    vec_card_settle(words[k]) != -VEC_EDENIED)
                        differs("settle with a slot owner");
        if (!is_card_step(o)) {
                if (yes)
                        guard_step(o, BY_BEGIN);
                compare(after, 0);
                return;
        }
        r = card_step(o, &why);
        if (o->kind == WRITE) {
                /* Not shipped: w is no step of the card, whatever R3 says. */
                if (r != -VEC_EMALFORMED)
                        differs("take of w says %d", r);
                after = s;
        } else if (r != (yes ? 0 : -VEC_EDENIED)) {
                differs("card.c says %d, the rule %s", r, yes ? "yes" : "no");
        } else if (o->kind == TAKE && !yes) {
                check_reason(o, why, causes);
        }
        compare(after, 0);
}

/* The guard has q: the card's own steps are busy. Its own word over the card's q is force. */
static void check_quiesced(uint32_t s, uint32_t at)
{
        const struct operation *o = &table.operation[at];
        uint32_t row = answer_at(s, at);
        struct vec_word w;
        uint64_t before;
        uint8_t why;
        int r;

        if (o->kind == WRITE || o->kind == PROCESS)
                return;
        put(s);
        for (uint32_t k = 0; k < table.cards; k++)
                put_word(k, vec_word_load(words[k]) | VEC_WORD_Q);
        if (is_card_step(o)) {
                w = vec_word_decode(vec_word_load(words[o->k]));
                /* This refusal is not of card.c. */
                if (o->kind == SWITCH && o->i != NOBODY && w.owner != index_of[o->i])
                        return;
                r = card_step(o, &why);
                if (r != -VEC_EBUSY)
                        differs("it says %d", r);
                if (o->kind == TAKE && why != VEC_REASON_QUIESCED)
                        differs("the reason is %u", why);
                compare(s, ~0U);
        } else if (o->kind == RESCIND || o->kind == RELEASE) {
                if (vec_card_revoke_begin(words[o->k], index_of[o->i], o->attribute | VEC_C, &before) != -VEC_EBUSY)
                        differs("begin is not busy");
                if (vec_card_settle(words[o->k]) != -VEC_EBUSY)
                        differs("settle is not busy");
                w = vec_word_decode(vec_word_load(words[o->k]));
                if (vec_card_connect(words[o->k]) != (w.status == VEC_FREE ? -VEC_EBUSY : 0))
                        differs("connect");
                compare(s, ~0U);
                if (!(row >> 24 & 1))
                        return;
                /* The other cards keep theirs. */
                for (uint32_t k = 0; k < table.cards; k++)
                        if (k != o->k)
                                put_word(k, vec_word_load(words[k]) & ~(uint64_t)VEC_WORD_Q);
                guard_step(o, BY_FORCE);
                compare(row & 0xFFFFFF, 0);
        }
}

/* Requests are in flight. */
static void check_inflight(uint32_t s, uint32_t at)
{
        const struct operation *o = &table.operation[at];
        uint32_t row = answer_at(s, at);
        int yes = row >> 24 & 1, r;
        uint8_t why = 0;

        if (o->kind == WRITE || o->k == NOBODY)
                return;
        for (int parity = 0; parity < 2; parity++) {
                struct card *card = &cards[o->k];
                struct vec_word w;

                put(s);
                card->generation = (card->generation & ~UINT64_C(1)) | (uint64_t)parity;
                put_word(o->k, word_of(s, o->k, card->generation));
                w = vec_word_decode(vec_word_load(words[o->k]));
                for (uint8_t x = VEC_R; x <= VEC_A && !card->inflight; x <<= 1)
                        if (vec_card_enter(words[o->k], w.owner, x, 3, &card->pending[0].generation) == 0)
                                card->inflight = (int)(card->pending[0].n = 3);
                if (!card->inflight)
                        return;
                in_flight++;
                if (!is_card_step(o)) {
                        if (yes)
                                guard_step(o, BY_BEGIN);
                        compare(row & 0xFFFFFF, 0);
                } else {
                        int needs_none = o->kind == GIVE_BACK || o->kind == UP || o->kind == DOWN || o->kind == SWITCH;

                        r = card_step(o, &why);
                        if (needs_none && yes && r != -VEC_EBUSY)
                                differs("it says %d", r);
                        if (needs_none && !yes && r != -VEC_EDENIED && r != -VEC_EBUSY)
                                differs("it says %d", r);
                        if (!needs_none && r != (yes ? 0 : -VEC_EDENIED))
                                differs("it says %d", r);
                        compare(needs_none ? s : row & 0xFFFFFF, 0);
                }
                if (card->inflight && (vec_card_leave(words[o->k], 4, card->generation) != -VEC_EINTEGRITY ||
                                       vec_card_leave(words[o->k], 0, card->generation) != -VEC_EINTEGRITY))
                        differs("more leave than entered");
                if (card->inflight)
                        all_leave(o->k, 1);
                card->pending[0].n = 0;
        }
}

/* A turn from here, where the operation is its first step; and the rest of one where the card is using already. */
static void check_fused(uint32_t s, uint32_t at)
{
        const struct operation *o = &table.operation[at];
        uint64_t generation;

        if (o->kind != TAKE || o->attribute != VEC_A)
                return;
        put(s);
        compare(fused_turn(s, o->k, o->i), 0);
        put(s);
        put_word(o->k, vec_word_load(words[o->k]) | VEC_WORD_Q);
        if (vec_card_begin_work(words[o->k], matrices, card_of[o->k], index_of[o->i], VEC_A, BATCH, &generation) != 1)
                differs("work begins with q");
        compare(s, 1U << o->k);
        put(s);
        if (vec_card_enter(words[o->k], index_of[o->i], VEC_A, BATCH, &generation) < 0)
                return;
        cards[o->k].inflight = BATCH;
        if (vec_card_begin_work(words[o->k], matrices, card_of[o->k], index_of[o->i], VEC_A, BATCH, &generation) != 1)
                differs("work begins twice");
        compare(fused_rest(s, o->k, o->i, generation), 0);
}

static void check_every(void)
{
        static void (*const checks[])(uint32_t s, uint32_t at) = {check_plain, check_quiesced, check_inflight,
                                                                  check_fused};
        static const char *const what[] = {"", ", with q", ", in flight", ", fused"};

        for (unsigned which = 0; which < sizeof checks / sizeof checks[0]; which++) {
                now_what = what[which];
                for (now_state = 0; now_state < table.states; now_state++)
                        for (now_operation = 0; now_operation < table.operations; now_operation++)
                                checks[which](now_state, now_operation);
        }
}

/* ---- a walk ---- */

static uint64_t chance;

static uint32_t random_below(uint32_t bound)
{
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        return (uint32_t)((chance >> 32) * bound >> 32);
}

/* Somebody enters or leaves: no rule, and the state stays. */
static void come_or_go(uint32_t k)
{
        struct card *card = &cards[k];
        struct vec_word w = vec_word_decode(vec_word_load(words[k]));
        int at = (int)random_below(PENDING), r;
        uint32_t n = 1 + random_below(3);

        if (card->pending[at].n) {
                r = vec_card_leave(words[k], card->pending[at].n, card->pending[at].generation);
                if (r < 0)
                        differs("leave says %d", r);
                card->inflight -= (int)card->pending[at].n;
                card->pending[at].n = 0;
        } else if (w.owner != VEC_NONE) {
                r = vec_card_enter(words[k], w.owner, w.status == VEC_USING ? VEC_A : VEC_R, n,
                                   &card->pending[at].generation);
                if (r == 0)
                        card->inflight += (int)(card->pending[at].n = n);
        }
}

/* How seldom an operation is chosen, by what it ends: a walk on which all is taken away soon sees little. */
static uint32_t seldom(const struct operation *o)
{
        switch (o->kind) {
        case RELEASE:
        case RESCIND:
                return 8;
        case USER_RELEASE:
        case USER_RESCIND:
                return 16;
        case SWITCH:
                return 4;
        default:
                return 1;
        }
}

/* A revocation that finds the card in the middle of a step of its own. The state after it. */
static uint32_t cut(const struct operation *o, uint32_t after)
{
        struct vec_word w = vec_word_decode(vec_word_load(words[o->k]));
        int down = w.status == VEC_USING && w.owner != VEC_NONE && random_below(2), r;
        uint64_t seen;

        r = down ? vec_card_down_begin(words[o->k], w.owner, &seen) : vec_card_switch_begin(words[o->k], &seen);
        if (r < 0)
                differs("a first half says %d", r);
        cut_short++;
        guard_step(o, BY_FORCE);
        r = down ? vec_card_down_end(words[o->k], seen)
                 : vec_card_switch_end(words[o->k], matrices, card_of[o->k], VEC_NONE, seen);
        if (r != -VEC_EDENIED)
                differs("a second half says %d after force", r);
        if (down)
                return after;
        /* The slot is nobody's until a switch went through: by the rules, R12 to the next one. */
        for (uint32_t at = random_below(table.operations);; at = (at + 1) % table.operations) {
                const struct operation *next = &table.operation[at];
                uint32_t row = answer_at(after, at);
                uint8_t why;

                if (next->kind != SWITCH || next->i != NOBODY || next->k != o->k)
                        continue;
                r = card_step(next, &why);
                if (r != (row >> 24 & 1 ? 0 : -VEC_EDENIED))
                        differs("the switch after a switch that was cut short says %d", r);
                return row & 0xFFFFFF;
        }
}

static void check_walk(long steps, uint64_t seed)
{
        uint8_t *been = calloc(table.states, 1);
        uint32_t s = 0, places = 0;

        chance = seed * 2 + 1;
        put(0);
        for (uint32_t k = 0; k < table.cards; k++) {
                cards[k].generation = GENERATIONS - 1 - (uint64_t)steps / 100;
                put_word(k, word_of(0, k, cards[k].generation));
        }
        now_what = ", on the walk";
        while (walked < steps) {
                uint32_t at = random_below(table.operations), row = answer_at(s, at), after = row & 0xFFFFFF;
                const struct operation *o = &table.operation[at];
                int yes = row >> 24 & 1, inflight, r;
                uint8_t why = 0;

                if (random_below(seldom(o)))
                        continue;
                walked++;

                now_state = s;
                now_operation = at;
                if (!been[s]) {
                        been[s] = 1;
                        places++;
                }
                if (random_below(4) == 0)
                        come_or_go(random_below(table.cards));
                inflight = o->k != NOBODY && cards[o->k].inflight;
                if (o->kind == WRITE) {
                        after = s;
                } else if (o->kind == TAKE && o->attribute == VEC_A && random_below(4) == 0) {
                        after = fused_turn(s, o->k, o->i);
                } else if (is_card_step(o)) {
                        int needs_none = o->kind == GIVE_BACK || o->kind == UP || o->kind == DOWN || o->kind == SWITCH;

                        r = card_step(o, &why);
                        if (needs_none && inflight ? r != -VEC_EBUSY && (yes || r != -VEC_EDENIED)
                                                   : r != (yes ? 0 : -VEC_EDENIED))
                                differs("card.c says %d, the rule %s", r, yes ? "yes" : "no");
                        if (o->kind == TAKE && !yes)
                                check_reason(o, why, row >> 26);
                        if (needs_none && inflight)
                                after = s;
                } else if (yes) {
                        const struct vec_word w = vec_word_decode(vec_word_load(words[o->k == NOBODY ? 0 : o->k]));

                        if (o->kind == RESCIND && !inflight && w.status != VEC_FREE && random_below(4) == 0)
                                after = cut(o, after);
                        else
                                guard_step(o, random_below(4) ? BY_BEGIN : BY_FORCE);
                }
                compare(after, 0);
                s = after;
        }
        printf("visited=%u ", places);
        free(been);
}

int main(int argc, char **argv)
{
        int fd;

        matrices = calloc(1, sizeof *matrices);
        if (argc < 3 || !matrices || open_table(argv[1]) < 0)
                return 2;
        for (uint32_t k = 0; k < table.cards; k++)
                if (vec_word_create(0, &fd, &words[k]) < 0)
                        return 2;
        if (!strcmp(argv[2], "every"))
                check_every();
        else if (argc == 5 && !strcmp(argv[2], "walk"))
                check_walk(atol(argv[3]), strtoull(argv[4], NULL, 10));
        else
                return 2;
        printf("states=%u operations=%u checked=%ld walked=%ld in_flight=%ld forced=%ld cut_short=%ld "
               "written_off=%ld waited=%ld fused=%ld\n",
               table.states, table.operations, checked, walked, in_flight, forced, cut_short, written_off, waited,
               fused_turns);
        return 0;
}
