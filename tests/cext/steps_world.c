/* The small world of steps_world.h. */
#include "steps_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vec/status.h"
#include "vec/wire.h"

enum { CAUSE_M = 1, CAUSE_C = 2, CAUSE_SLOT = 4, CAUSE_LEVEL = 8 };

static const char *const names[KIND_COUNT] = {
        "take", "write", "give back", "up", "down", "switch", "loadkey", "submit", "fetch", "config", "process",
        "connect", "release", "rescind", "give", "user connect", "user release", "user rescind", "user give",
};
struct table table;
const uint32_t index_of[MOST] = {VEC_INSTANCES_MAX - 1, 0, 2047}, card_of[MOST] = {VEC_CARDS_MAX - 1, 0, 7};
struct vec_matrices *matrices;
vec_card_word *words[MOST];
struct card cards[MOST];
uint32_t now_state, now_operation;
const char *now_what = "";
long checked, forced, written_off, waited;

const char *name_of(enum kind kind)
{
        return names[kind];
}

void __attribute__((noreturn, format(printf, 1, 2))) differs(const char *format, ...)
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

uint32_t answer_at(uint32_t state, uint32_t operation)
{
        return table.answer[(size_t)state * table.operations + operation];
}

uint32_t index_or_none(uint8_t i)
{
        return i == NOBODY ? (uint32_t)VEC_NONE : index_of[i];
}

uint64_t word_of(uint32_t state, uint32_t k, uint64_t generation)
{
        const uint8_t *own = card_at(state, k) + 2 * table.instances;

        /* By the table of docs/shm.md, not by card.c. */
        return own[0] | (uint64_t)own[1] << 6 | (uint64_t)index_or_none(own[2]) << 18 | generation << 30;
}

void put_word(uint32_t k, uint64_t value)
{
        __atomic_store_n((uint64_t *)(void *)words[k], value, __ATOMIC_SEQ_CST);
}

void put(uint32_t state)
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

void compare(uint32_t state, uint32_t quiesced)
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
                wanted |= (uint64_t)cards[k].inflight << VEC_WORD_INFLIGHT_SHIFT | (quiesced >> k & 1 ? VEC_WORD_Q : 0);
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

int card_step(const struct operation *o, uint8_t *ret_why)
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

int is_card_step(const struct operation *o)
{
        return o->kind <= PROCESS;
}

void check_reason(const struct operation *o, uint8_t why, uint32_t causes)
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

static uint8_t *m_of(uint32_t k, uint32_t i)
{
        return &matrices->card_m[card_of[k]][index_of[i]];
}

static uint8_t *b_of(uint32_t k, uint32_t i)
{
        return &matrices->card_b[card_of[k]][index_of[i]];
}

void all_leave(uint32_t k, int counts)
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

void guard_step(const struct operation *o, int how)
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

int open_table(const char *path)
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
