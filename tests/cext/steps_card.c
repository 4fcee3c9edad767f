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
 * every: each state, each operation; and again with q set (busy, nothing changes; a revocation by force goes through)
 * and with requests in flight (what needs none is busy; a revocation waits, or writes them off).
 * walk: STEPS steps in one go without ever putting the memory right, with requests left in flight over other steps,
 * revocations by begin, by force, and in the middle of a down or a switch, across the wrap of the generation.
 *
 * One line of counts; exit 1 with the first difference, 2 where the table is none.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vec/card.h"
#include "vec/status.h"
#include "vec/wire.h"

/* The order is that of KINDS in steps_table.py. */
enum kind {
        TAKE, WRITE, GIVE_BACK, UP, DOWN, SWITCH, LOADKEY, SUBMIT, FETCH, CONFIG, PROCESS,
        CONNECT, RELEASE, RESCIND, GIVE, USER_CONNECT, USER_RELEASE, USER_RESCIND, USER_GIVE,
        KIND_COUNT,
};

static const char *const names[KIND_COUNT] = {
        "take", "write", "give back", "up", "down", "switch", "loadkey", "submit", "fetch", "config", "process",
        "connect", "release", "rescind", "give", "user connect", "user release", "user rescind", "user give",
};

enum { NOBODY = 0xFF, MOST = 3, PENDING = 2, NO = 0, YES = 1 };
enum { CAUSE_M = 1, CAUSE_C = 2, CAUSE_SLOT = 4, CAUSE_LEVEL = 8 };

struct operation {
        uint8_t kind, i, k, attribute, next, reserved[3];
};

static struct {
        uint32_t instances, cards, operations, states, stride;
        const struct operation *operation;
        const uint8_t *state;
        const uint32_t *answer;
} table;

/* Where the small world's instances and cards stand in the big one: the ends of the range are among them. */
static const uint32_t index_of[MOST] = {VEC_INSTANCES_MAX - 1, 0, 2047}, card_of[MOST] = {VEC_CARDS_MAX - 1, 0, 7};

#define GENERATIONS (UINT64_C(1) << 34)

static struct vec_matrices *matrices;
static vec_card_word *words[MOST];
/* What the card process knows of itself, the generation that its word has to have, and who is inside. */
static struct card {
        uint8_t context, output, keys;
        uint64_t generation;
        int inflight;
        struct {
                uint32_t n;
                uint64_t generation;
        } pending[PENDING];
} cards[MOST];

static uint32_t now_state, now_operation;
static const char *now_what = "";
static long checked, walked, forced, cut_short, written_off, waited, in_flight;

static void __attribute__((noreturn, format(printf, 1, 2))) differs(const char *format, ...)
{
        const struct operation *o = &table.operation[now_operation];
        va_list arguments;

        printf("DIFFERS in state %u, %s (instance %d, card %d, attribute %d, next %d)%s: ", now_state, names[o->kind],
               o->i, o->k, o->attribute, o->next, now_what);
        va_start(arguments, format);
        vprintf(format, arguments);
        va_end(arguments);
        printf("\n");
        exit(1);
}

/* ---- a state, in memory and in the table ---- */

static const uint8_t *state_at(uint32_t state)
{
        return table.state + (size_t)state * table.stride;
}

static const uint8_t *card_at(uint32_t state, uint32_t k)
{
        return state_at(state) + 2 * table.instances + k * (2 * table.instances + 6);
}

static uint32_t answer_at(uint32_t state, uint32_t operation)
{
        return table.answer[(size_t)state * table.operations + operation];
}

static uint32_t index_or_none(uint8_t i)
{
        return i == NOBODY ? (uint32_t)VEC_NONE : index_of[i];
}

static uint64_t word_of(uint32_t state, uint32_t k, uint64_t generation)
{
        const uint8_t *own = card_at(state, k) + 2 * table.instances;

        /* By the table of docs/shm.md, not by card.c. */
        return own[0] | (uint64_t)own[1] << 6 | (uint64_t)index_or_none(own[2]) << 18 | generation << 30;
}

static void put_word(uint32_t k, uint64_t value)
{
        __atomic_store_n((uint64_t *)(void *)words[k], value, __ATOMIC_SEQ_CST);
}

static void put(uint32_t state)
{
        const uint8_t *at = state_at(state);

        for (uint32_t i = 0; i < table.instances; i++) {
                matrices->user_m[index_of[i]] = at[2 * i];
                matrices->user_b[index_of[i]] = at[2 * i + 1];
        }
        for (uint32_t k = 0; k < table.cards; k++) {
                const uint8_t *of = card_at(state, k), *own = of + 2 * table.instances;

                for (uint32_t i = 0; i < table.instances; i++) {
                        matrices->card_m[card_of[k]][index_of[i]] = of[2 * i];
                        matrices->card_b[card_of[k]][index_of[i]] = of[2 * i + 1];
                }
                cards[k].context = own[3];
                cards[k].output = own[4];
                cards[k].keys = own[5];
                cards[k].inflight = 0;
                cards[k].generation = (GENERATIONS - 3 + state) % GENERATIONS;
                put_word(k, word_of(state, k, cards[k].generation));
        }
}

/* quiesced: the q that the word has to have. */
static void compare(uint32_t state, int quiesced)
{
        const uint8_t *at = state_at(state);
        const char *why;

        for (uint32_t i = 0; i < table.instances; i++)
                if (matrices->user_m[index_of[i]] != at[2 * i] || matrices->user_b[index_of[i]] != at[2 * i + 1])
                        differs("a user's cell");
        for (uint32_t k = 0; k < table.cards; k++) {
                const uint8_t *of = card_at(state, k), *own = of + 2 * table.instances;
                uint64_t is = vec_word_load(words[k]), wanted = word_of(state, k, cards[k].generation);

                for (uint32_t i = 0; i < table.instances; i++)
                        if (matrices->card_m[card_of[k]][index_of[i]] != of[2 * i] ||
                            matrices->card_b[card_of[k]][index_of[i]] != of[2 * i + 1])
                                differs("a cell of card %u", k);
                wanted |= (uint64_t)cards[k].inflight << VEC_WORD_INFLIGHT_SHIFT | (quiesced ? VEC_WORD_Q : 0);
                if (is != wanted)
                        differs("word %u is %#llx and not %#llx", k, (unsigned long long)is, (unsigned long long)wanted);
                if (vec_word_check(is, &why) < 0)
                        differs("word %u: %s", k, why);
                if (cards[k].context != own[3] || cards[k].output != own[4] || cards[k].keys != own[5])
                        differs("card %u: engine %d, output %d, keys %d and not %d, %d, %d", k, cards[k].context,
                                cards[k].output, cards[k].keys, own[3], own[4], own[5]);
        }
        checked++;
}

/* ---- the card process ---- */

static int enters(const struct operation *o, uint8_t attribute)
{
        uint64_t generation, before = vec_word_load(words[o->k]);
        int allows = vec_card_allows(before, index_of[o->i], attribute);
        int r = vec_card_enter(words[o->k], index_of[o->i], attribute, 1, &generation);

        if (allows != (r == 0))
                differs("allows says %d, enter %d", allows, r);
        if (r < 0)
                return r;
        if (generation != cards[o->k].generation)
                differs("enter saw another generation");
        r = vec_card_leave(words[o->k], 1, generation);
        if (r < 0 || vec_word_load(words[o->k]) != before)
                differs("leave after enter: %d", r);
        return 0;
}

/* Who moves the card: the slot owner in its own name, or the manager in that of whoever it is. */
static uint32_t mover(const struct operation *o)
{
        return o->i != NOBODY ? index_of[o->i] : vec_word_decode(vec_word_load(words[o->k])).owner;
}

static void wipe(struct card *card)
{
        card->context = card->output = NOBODY;
}

static void moved(uint32_t k, unsigned by)
{
        cards[k].generation = (cards[k].generation + by) % GENERATIONS;
}

static int anybody(uint32_t k)
{
        for (uint32_t i = 0; i < table.instances; i++)
                if (matrices->card_b[card_of[k]][index_of[i]] & VEC_C)
                        return 1;
        return 0;
}

/* Where c went or the card was wiped: free, if nobody is connected and it is clean. */
static void settle(uint32_t k)
{
        struct vec_word before = vec_word_decode(vec_word_load(words[k]));
        int r;

        if (anybody(k) || cards[k].context != NOBODY || cards[k].output != NOBODY)
                return;
        r = vec_card_settle(words[k]);
        if (r < 0)
                differs("settle: %d", r);
        moved(k, before.status != VEC_FREE);
}

/* The status of card.c; what the card does with its engine is done. *ret_why only where take gives one. */
static int card_step(const struct operation *o, uint8_t *ret_why)
{
        struct card *card = &cards[o->k];
        uint64_t seen;
        uint8_t why = 0xEE;
        int r;

        switch (o->kind) {
        case TAKE:
        case WRITE:
                r = vec_card_take(words[o->k], matrices, card_of[o->k], index_of[o->i], o->attribute, &why);
                if (r == 0 && why != 0xEE)
                        differs("a take that was allowed gives a reason");
                *ret_why = why;
                return r;
        case GIVE_BACK:
                return vec_card_give_back(words[o->k], index_of[o->i], o->attribute);
        case UP:
                return vec_card_up(words[o->k], mover(o));
        case DOWN:
                r = vec_card_down_begin(words[o->k], mover(o), &seen);
                if (r < 0)
                        return r;
                if (seen != vec_word_load(words[o->k]) || !(seen & VEC_WORD_Q))
                        differs("down_begin says another word, or left q clear");
                card->context = NOBODY;
                return vec_card_down_end(words[o->k], seen);
        case SWITCH:
                /* An instance may only yield what it has. */
                if (o->i != NOBODY && mover(o) != vec_word_decode(vec_word_load(words[o->k])).owner)
                        return -VEC_EDENIED;
                r = vec_card_switch_begin(words[o->k], &seen);
                if (r < 0)
                        return r;
                if (seen != vec_word_load(words[o->k]) || !(seen & VEC_WORD_Q))
                        differs("switch_begin says another word, or left q clear");
                wipe(card);
                r = vec_card_switch_end(words[o->k], matrices, card_of[o->k], index_or_none(o->next), seen);
                if (r == 0) {
                        moved(o->k, 1);
                        settle(o->k);
                }
                return r;
        case LOADKEY:
        case SUBMIT:
                r = enters(o, VEC_A);
                /* The card checks the key itself. */
                if (r == 0 && o->kind == SUBMIT && !(card->keys & 1 << o->i))
                        return -VEC_EDENIED;
                if (r == 0)
                        card->context = o->i;
                if (r == 0 && o->kind == LOADKEY)
                        card->keys |= (uint8_t)(1 << o->i);
                return r;
        case FETCH:
                r = enters(o, VEC_R);
                return r == 0 ? 0 : enters(o, VEC_W);
        case CONFIG:
                r = enters(o, VEC_W);
                if (r == 0)
                        card->output = o->i;
                return r;
        case PROCESS:
                if (vec_word_decode(vec_word_load(words[o->k])).status != VEC_USING || card->context == NOBODY)
                        return -VEC_EDENIED;
                card->output = card->context;
                return 0;
        default:
                abort();
        }
}

static int is_card_step(const struct operation *o)
{
        return o->kind <= PROCESS;
}

static void check_reason(const struct operation *o, uint8_t why, uint32_t causes)
{
        uint32_t said = why == VEC_REASON_NOT_CONNECTED ? CAUSE_C
                        : why == VEC_REASON_SLOT_LOST   ? CAUSE_SLOT
                        : why == VEC_REASON_NONE        ? CAUSE_LEVEL
                        : why == (o->attribute == VEC_A ? VEC_REASON_M_LACKS_A : VEC_REASON_M_LACKS_R) ? CAUSE_M
                                                        : 0;

        if (!(said & causes))
                differs("the reason %u is not among the causes %#x", why, causes);
}

/* ---- the guard ---- */

enum { BY_BEGIN, BY_FORCE };

static uint8_t *m_of(uint32_t k, uint32_t i)
{
        return &matrices->card_m[card_of[k]][index_of[i]];
}

static uint8_t *b_of(uint32_t k, uint32_t i)
{
        return &matrices->card_b[card_of[k]][index_of[i]];
}

/* Everybody who is inside comes out; counts: whether the results do. */
static void all_leave(uint32_t k, int counts)
{
        struct card *card = &cards[k];

        for (int at = 0; at < PENDING; at++) {
                int r;

                if (!card->pending[at].n)
                        continue;
                r = vec_card_leave(words[k], card->pending[at].n, card->pending[at].generation);
                if (r != (counts ? 0 : -VEC_EDENIED))
                        differs("leave says %d", r);
                if (counts)
                        card->inflight -= (int)card->pending[at].n;
                card->pending[at].n = 0;
        }
}

/* Steps 1 to 5 of docs/shm.md on one card; M and b have been changed. */
static void withdraw(uint32_t k, uint32_t i, uint8_t lost, int how)
{
        struct card *card = &cards[k];
        uint64_t before, stood = vec_word_load(words[k]);
        int r;

        if (how == BY_BEGIN) {
                r = vec_card_revoke_begin(words[k], index_of[i], lost, &before);
        } else {
                r = vec_card_revoke_force(words[k], index_of[i], lost, &before);
                forced++;
                moved(k, 1);
                card->inflight = 0;
                all_leave(k, 0);
        }
        if (r < 0 || before != stood)
                differs("revocation: %d", r);
        if (card->inflight) {
                if (vec_card_drained(words[k]) != -VEC_EBUSY || vec_card_revoke_end(words[k]) != -VEC_EBUSY)
                        differs("drained with requests in flight");
                if (stood >> VEC_WORD_GENERATION_SHIFT & 1) {
                        vec_card_abort(words[k]);
                        written_off++;
                        moved(k, 1);
                        card->inflight = 0;
                        all_leave(k, 0);
                } else {
                        waited++;
                        all_leave(k, 1);
                }
        }
        if (vec_card_drained(words[k]) < 0)
                differs("not drained with nothing in flight");
        if (lost & VEC_C)
                card->keys &= (uint8_t)~(1 << i);
        if (vec_card_revoke_end(words[k]) < 0)
                differs("a revocation does not end");
        moved(k, 1);
        if (lost & VEC_C)
                settle(k);
}

static void drop(uint32_t k, uint32_t i, int how)
{
        vec_cell_store(b_of(k, i), 0);
        withdraw(k, i, VEC_C, how);
}

static void drop_user(uint32_t i, int how)
{
        vec_cell_store(&matrices->user_b[index_of[i]], 0);
        for (uint32_t k = 0; k < table.cards; k++)
                if (*b_of(k, i) & VEC_C)
                        drop(k, i, how);
}

/* What the guard does after the rule said yes. */
static void guard_step(const struct operation *o, int how)
{
        uint8_t *cell;

        switch (o->kind) {
        case CONNECT:
                vec_cell_store(b_of(o->k, o->i), VEC_C);
                if (vec_card_connect(words[o->k]) < 0)
                        differs("connect");
                return;
        case RELEASE:
                drop(o->k, o->i, how);
                return;
        case RESCIND:
                cell = m_of(o->k, o->i);
                vec_cell_store(cell, *cell & (uint8_t)~o->attribute);
                if (o->attribute == VEC_C)
                        drop(o->k, o->i, how);
                else
                        withdraw(o->k, o->i, o->attribute, how);
                return;
        case GIVE:
                cell = m_of(o->k, o->i);
                vec_cell_store(cell, *cell | o->attribute);
                return;
        case USER_CONNECT:
                cell = &matrices->user_b[index_of[o->i]];
                vec_cell_store(cell, *cell | VEC_C);
                return;
        case USER_RELEASE:
                drop_user(o->i, how);
                return;
        case USER_RESCIND:
                cell = &matrices->user_m[index_of[o->i]];
                vec_cell_store(cell, *cell & (uint8_t)~o->attribute);
                drop_user(o->i, how);
                return;
        case USER_GIVE:
                cell = &matrices->user_m[index_of[o->i]];
                vec_cell_store(cell, *cell | o->attribute);
                return;
        default:
                abort();
        }
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
                compare(s, 1);
        } else if (o->kind == RESCIND || o->kind == RELEASE) {
                if (vec_card_revoke_begin(words[o->k], index_of[o->i], o->attribute | VEC_C, &before) != -VEC_EBUSY)
                        differs("begin is not busy");
                if (vec_card_settle(words[o->k]) != -VEC_EBUSY)
                        differs("settle is not busy");
                w = vec_word_decode(vec_word_load(words[o->k]));
                if (vec_card_connect(words[o->k]) != (w.status == VEC_FREE ? -VEC_EBUSY : 0))
                        differs("connect");
                compare(s, 1);
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

static void check_every(void)
{
        static void (*const checks[])(uint32_t s, uint32_t at) = {check_plain, check_quiesced, check_inflight};
        static const char *const what[] = {"", ", with q", ", in flight"};

        for (unsigned which = 0; which < 3; which++) {
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

/* ---- the table ---- */

static const uint8_t *read_all(const char *path, size_t *ret_size)
{
        FILE *file = fopen(path, "rb");
        uint8_t *data;
        long size;

        if (!file || fseek(file, 0, SEEK_END) < 0 || (size = ftell(file)) < 0)
                return NULL;
        rewind(file);
        data = malloc((size_t)size + 1);
        if (!data || fread(data, 1, (size_t)size, file) != (size_t)size)
                return NULL;
        fclose(file);
        *ret_size = (size_t)size;
        return data;
}

static int open_table(const char *path)
{
        size_t size = 0, operations, states;
        const uint8_t *data = read_all(path, &size);
        uint32_t *answers;

        if (!data || size < 28 || memcmp(data, "VECSTEPS", 8))
                return -1;
        memcpy(&table, data + 8, 20);
        operations = (size_t)table.operations * sizeof *table.operation;
        states = (size_t)table.states * table.stride;
        if (table.instances > MOST || table.cards > MOST ||
            table.stride != 2 * table.instances + table.cards * (2 * table.instances + 6) ||
            size != 28 + operations + states + (size_t)table.states * table.operations * 4)
                return -1;
        table.operation = (const void *)(data + 28);
        table.state = data + 28 + operations;
        answers = malloc((size_t)table.states * table.operations * 4);
        if (!answers)
                return -1;
        memcpy(answers, table.state + states, (size_t)table.states * table.operations * 4);
        table.answer = answers;
        for (uint32_t at = 0; at < table.operations; at++)
                if (table.operation[at].kind >= KIND_COUNT)
                        return -1;
        return 0;
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
               "written_off=%ld waited=%ld\n",
               table.states, table.operations, checked, walked, in_flight, forced, cut_short, written_off, waited);
        return 0;
}
