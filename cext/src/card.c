/*
 * The card word, step by step (card.h has the picture, docs/shm.md the table of who may do what).
 *
 * Who races with whom. On one word there are the card process (its pump; perhaps workers between enter and leave)
 * and one guard, which holds the mutex of that card, so that there is one revocation at a time. Every step is a
 * load, checks on the loaded value, and one compare-and-swap against that very value; a step that also depends on
 * M or b reads the cell between its load and its swap, and reads it again when the swap fails. Nothing waits in
 * here: a caller that gets -VEC_EBUSY decides how long it goes on asking.
 *
 * Why no right survives its revocation. The guard (1) stores M and b, (2) swaps the word to q (begin), (3) sees
 * nothing in flight, (4) swaps q away and moves the generation (end), (5) answers. Take any swap S of the card
 * that gives a right (take, switch_end), and the load L and the read of the cell before it:
 *
 *   S before (2)    begin starts from what S wrote, and takes the right away again. It must therefore always be a
 *                   swap, also where i does not own the slot or does not hold the attribute yet: that it is not
 *                   held *now* does not say that nobody is between L and S.
 *   S in (2)..(4)   impossible: q is set, and what S expects was loaded with q clear, or is a word that the card's
 *                   own first half wrote, and begin refuses to start while that one stands.
 *   S after (4)     L is after (4) as well, because what L saw had to be equal to what S replaced, and a word of
 *                   before (4) has an older generation. The acquire of L meets the release of (2) or (4), so the
 *                   read of the cell after L sees (1). This is what generation + 1 is for: with the same
 *                   generation the word after (4) may equal the word before (2), and S would succeed on a
 *                   cell read long ago.
 *
 *   An enter that swaps before (2) is counted in the word begin starts from, and (3) waits for it; after (2) there
 *   is q, and after (4) the bit is gone. So no operation starts after (2) and none runs after (3).
 *
 * Two writers of q. The card sets q in the first half of its own steps (down, switch) and clears it in the second;
 * the guard sets it in begin and clears it in end. They never both own it:
 *
 *   - begin answers -VEC_EBUSY while the card's q stands. The guard has stored M by then and asks again until the
 *     second half is done; that second half may still give a slot by a cell read before (1), and begin, which then
 *     starts from its result, takes it away: the first case above.
 *   - a card that does not finish (hung in a wipe, or dead) is cut short by vec_card_revoke_force: begin and abort
 *     in one swap. The second half expects the exact word that its first half left; the generation has moved,
 *     so it fails, changes nothing, and the card has to start over with switch_begin. What it wiped does not count.
 *     After force, q is the guard's, as after begin.
 *   - the first halves of the card start only from a word without q, so they cannot start in (2)..(4).
 *   - switch_begin gives up the owner at once, so a switch that is cut short leaves (status, none), in which nobody
 *     can do anything but switch again: the engine may be half wiped. A down that is cut short leaves `using`,
 *     and the owner may try again; nobody else can.
 *
 * Abort. A request that does not come back in time is written off: generation + 1, in flight 0. Its leave finds
 * another generation, fails and touches nothing, however many revocations later it comes. What abort cannot do is
 * to stop a thread: until leave has answered 0 a result must not have gone anywhere from where it cannot be taken
 * back. Where bytes go out to a guest between enter(r) and leave (the reply), the guard has to end the card process
 * before it aborts.
 *
 * Death. If the guard dies, q may stand for ever: the card writes the word off (vec_card_quiesce: q and abort), its
 * leaves fail, and it gets a new word from the next guard. This word is never used again. If the card dies with q set or
 * requests in flight, begin answers -VEC_EBUSY or drained never comes: the guard saw the process end (pidfd) and
 * uses force or abort, which nobody can contradict any more.
 *
 * The generation has 34 bits. A swap is fooled only by a word that comes back after exactly 2^34 changes while one
 * thread stands between its load and its swap: ten days at 20,000 switches a second.
 *
 * The orders. Of the word all are needed, each shown by a scenario that breaks without it: acquire of a load, and of a
 * swap that fails, because the cell that is read next must not be older than the word; release of a swap, because it
 * carries the guard's store of M to who sees the new word, and a worker's writes to who wipes; acquire of a swap, because
 * the word may have gone and come back since the load, with an enter and a leave in between; acquire in drained,
 * because what ran is over then. x86 has them for nothing. The orders of the cells are not needed for any of this.
 *
 * tests/cext/explore_card.c runs this file under every interleaving, under x86-TSO and under the weaker order of C11,
 * and the same with one thing or one order taken away; steps_card.c holds every step against its rule;
 * stress_card.c, billion_card.c and processes_card.c run it on threads and over processes that die.
 */
#include "vec/card.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "memfd.h"
#include "vec/status.h"
#include "vec/wire.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, STATUS_NONE = 3 };

#define HELD_MASK UINT64_C(0x1f)
#define INFLIGHT_MASK UINT64_C(0x3ff)
#define OWNER_MASK UINT64_C(0xfff)
#define GENERATION_MASK ((UINT64_C(1) << (64 - VEC_WORD_GENERATION_SHIFT)) - 1)

struct vec_card_word {
        _Atomic uint64_t word;
};

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "the word is shared between processes: a lock in one of them is none");
_Static_assert(VEC_NONE == OWNER_MASK && VEC_INFLIGHT_MAX == INFLIGHT_MASK, "fields of the card word");

/* ---- encoding ---- */

struct vec_word vec_word_decode(uint64_t word)
{
        return (struct vec_word){
                .held = word & HELD_MASK,
                .quiesced = (word & VEC_WORD_Q) != 0,
                .status = word >> VEC_WORD_STATUS_SHIFT & 3,
                .inflight = word >> VEC_WORD_INFLIGHT_SHIFT & INFLIGHT_MASK,
                .owner = word >> VEC_WORD_OWNER_SHIFT & OWNER_MASK,
                .generation = word >> VEC_WORD_GENERATION_SHIFT,
        };
}

uint64_t vec_word_encode(const struct vec_word *word)
{
        return (word->held & HELD_MASK) | (word->quiesced ? VEC_WORD_Q : 0) |
               (uint64_t)(word->status & 3) << VEC_WORD_STATUS_SHIFT |
               (word->inflight & INFLIGHT_MASK) << VEC_WORD_INFLIGHT_SHIFT |
               (word->owner & OWNER_MASK) << VEC_WORD_OWNER_SHIFT |
               (word->generation & GENERATION_MASK) << VEC_WORD_GENERATION_SHIFT;
}

/* Which attributes let requests be in flight: data go up in `using`, results come back in `control`. */
static uint8_t works_by(uint8_t status)
{
        return status == VEC_USING ? VEC_A : status == VEC_CONTROL ? VEC_R | VEC_W : 0;
}

int vec_word_check(uint64_t word, const char **ret_why)
{
        struct vec_word w = vec_word_decode(word);
        const char *why = NULL;

        if (w.status == STATUS_NONE)
                why = "status 3 is none of free, control and using";
        else if (w.held & VEC_E)
                why = "e* is the manager's and never held by an instance";
        else if (w.owner == VEC_NONE && w.held)
                why = "attributes are held, but nobody owns the slot";
        else if (w.owner != VEC_NONE && !(w.held & VEC_C))
                why = "the slot owner does not hold c";
        else if (w.status == VEC_FREE && w.owner != VEC_NONE)
                why = "a free card has a slot owner";
        else if (w.status == VEC_FREE && w.inflight)
                why = "a free card has requests in flight";
        else if (w.status == VEC_USING && (w.held & (VEC_R | VEC_W)))
                why = "r or w is held while the card is using";
        else if (w.inflight && !w.quiesced && !(w.held & works_by(w.status)))
                why = "requests are in flight without the attribute they need";
        if (!why)
                return 0;
        *ret_why = why;
        return -VEC_EINTEGRITY;
}

/* ---- memory ---- */

int vec_word_create(uint64_t generation, int *ret_fd, vec_card_word **ret_map)
{
        struct vec_word first = {.status = VEC_FREE, .owner = VEC_NONE, .generation = generation};
        vec_card_word *map;
        int fd = vec_memfd_new("vecd-card-word", VEC_WORD_PAGE);

        if (fd < 0)
                return -VEC_EFAILED;
        /* 0600: who was not given the descriptor and is another user cannot open it behind our back. */
        if (fchmod(fd, 0600) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                goto fail;
        map = vec_memfd_map(fd, VEC_WORD_PAGE, PROT_READ | PROT_WRITE);
        if (!map)
                goto fail;
        atomic_store_explicit(&map->word, vec_word_encode(&first), memory_order_release);
        *ret_fd = fd;
        *ret_map = map;
        return 0;

fail:
        vec_memfd_close(fd);
        return -VEC_EFAILED;
}

int vec_word_open(int fd, vec_card_word **ret_map)
{
        vec_card_word *map;
        const char *why;
        /* Sealed against writing it would be somebody's matrices. */
        int r = vec_memfd_check(fd, VEC_WORD_PAGE, SEALS, F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);

        if (r < 0)
                return r;
        map = vec_memfd_map(fd, VEC_WORD_PAGE, PROT_READ | PROT_WRITE);
        if (!map)
                return -VEC_EFAILED;
        r = vec_word_check(vec_word_load(map), &why);
        if (r < 0) {
                vec_word_unmap(map);
                errno = EINVAL;
                return r;
        }
        *ret_map = map;
        return 0;
}

void vec_word_unmap(vec_card_word *map)
{
        vec_memfd_unmap(map, VEC_WORD_PAGE);
}

uint64_t vec_word_load(const vec_card_word *word)
{
        return atomic_load_explicit(&word->word, memory_order_acquire);
}

/* ---- the one way to change a word ---- */

/* Replace `seen` by `next`. On failure *seen is what stands there now, and the caller checks again from the start. */
static int swap(vec_card_word *word, uint64_t *seen, const struct vec_word *next)
{
        return atomic_compare_exchange_strong_explicit(&word->word, seen, vec_word_encode(next),
                                                       memory_order_acq_rel, memory_order_acquire);
}

static int one_attribute(uint8_t attribute)
{
        return attribute == VEC_R || attribute == VEC_W || attribute == VEC_A;
}

/* What every step of a slot owner asks first. */
static int owner_may_step(const struct vec_word *w, uint32_t i)
{
        if (w->quiesced)
                return -VEC_EBUSY;
        if (i >= VEC_NONE || w->owner != i)
                return -VEC_EDENIED;
        return 0;
}

/* ---- the card process ---- */

int vec_card_take(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t i, uint8_t attribute,
                  uint8_t *ret_why)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;
        int r;

        if (card >= VEC_CARDS_MAX || (attribute != VEC_A && attribute != VEC_R)) {
                *ret_why = VEC_REASON_NONE;
                return -VEC_EMALFORMED;
        }
        do {
                w = vec_word_decode(seen);
                r = owner_may_step(&w, i);
                if (r < 0) {
                        *ret_why = r == -VEC_EBUSY ? VEC_REASON_QUIESCED : VEC_REASON_SLOT_LOST;
                        return r;
                }
                if (!(w.held & VEC_C)) {
                        *ret_why = VEC_REASON_NOT_CONNECTED;
                        return -VEC_EDENIED;
                }
                /* R4: f(k) <= f(i) holds in control alone. R2 has it in control and in using. */
                if (attribute == VEC_R && w.status != VEC_CONTROL) {
                        *ret_why = VEC_REASON_NONE;
                        return -VEC_EDENIED;
                }
                /* After the load of the word and before the swap: see above. */
                if (!(vec_cell_load(&m->card_m[card][i]) & attribute)) {
                        *ret_why = attribute == VEC_A ? VEC_REASON_M_LACKS_A : VEC_REASON_M_LACKS_R;
                        return -VEC_EDENIED;
                }
                if (w.held & attribute)
                        return 0;
                w.held |= attribute;
        } while (!swap(word, &seen, &w));
        return 0;
}

int vec_card_give_back(vec_card_word *word, uint32_t i, uint8_t attribute)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;
        int r;

        if (!one_attribute(attribute))
                return -VEC_EMALFORMED;
        do {
                w = vec_word_decode(seen);
                r = owner_may_step(&w, i);
                if (r < 0)
                        return r;
                if (!(w.held & attribute))
                        return -VEC_EDENIED;
                /* Nothing may run under a right that is no longer held. */
                if (w.inflight)
                        return -VEC_EBUSY;
                w.held &= (uint8_t)~attribute;
        } while (!swap(word, &seen, &w));
        return 0;
}

int vec_card_up(vec_card_word *word, uint32_t i)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;
        int r;

        do {
                w = vec_word_decode(seen);
                r = owner_may_step(&w, i);
                if (r < 0)
                        return r;
                if (w.status != VEC_CONTROL || (w.held & (VEC_R | VEC_W)))
                        return -VEC_EDENIED;
                if (w.inflight)
                        return -VEC_EBUSY;
                w.status = VEC_USING;
        } while (!swap(word, &seen, &w));
        return 0;
}

int vec_card_down_begin(vec_card_word *word, uint32_t i, uint64_t *ret_seen)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;
        int r;

        do {
                w = vec_word_decode(seen);
                r = owner_may_step(&w, i);
                if (r < 0)
                        return r;
                if (w.status != VEC_USING)
                        return -VEC_EDENIED;
                if (w.inflight)
                        return -VEC_EBUSY;
                w.quiesced = 1;
        } while (!swap(word, &seen, &w));
        *ret_seen = vec_word_encode(&w);
        return 0;
}

/* A second half does not loop: whatever moved the word since the first half took the step away from us. */
static int second_half(vec_card_word *word, uint64_t seen, const struct vec_word *next)
{
        return swap(word, &seen, next) ? 0 : -VEC_EDENIED;
}

int vec_card_down_end(vec_card_word *word, uint64_t seen)
{
        struct vec_word w = vec_word_decode(seen);

        if (!w.quiesced || w.status != VEC_USING || w.inflight || w.owner == VEC_NONE)
                return -VEC_EMALFORMED;
        w.status = VEC_CONTROL;
        w.quiesced = 0;
        return second_half(word, seen, &w);
}

int vec_card_switch_begin(vec_card_word *word, uint64_t *ret_seen)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        do {
                w = vec_word_decode(seen);
                if (w.quiesced || w.inflight)
                        return -VEC_EBUSY;
                if (w.status == VEC_FREE)
                        return -VEC_EDENIED;
                w.quiesced = 1;
                w.held = 0;
                w.owner = VEC_NONE;
        } while (!swap(word, &seen, &w));
        *ret_seen = vec_word_encode(&w);
        return 0;
}

int vec_card_switch_end(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t next,
                        uint64_t seen)
{
        struct vec_word w = vec_word_decode(seen);

        if (card >= VEC_CARDS_MAX || next > VEC_NONE || !w.quiesced || w.owner != VEC_NONE || w.inflight ||
            w.status == VEC_FREE)
                return -VEC_EMALFORMED;
        /* Not connected counts as none, so that slots do not depend on others (R12). */
        if (next != VEC_NONE && (vec_cell_load(&m->card_b[card][next]) & VEC_C)) {
                w.owner = (uint16_t)next;
                w.held = VEC_C;
        }
        w.status = VEC_CONTROL;
        w.quiesced = 0;
        w.generation++;
        return second_half(word, seen, &w);
}

int vec_card_allows(uint64_t word, uint32_t i, uint8_t attribute)
{
        struct vec_word w = vec_word_decode(word);

        return one_attribute(attribute) && !owner_may_step(&w, i) && (w.held & works_by(w.status) & attribute) != 0;
}

int vec_card_enter(vec_card_word *word, uint32_t i, uint8_t attribute, uint32_t n, uint64_t *ret_generation)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        if (!one_attribute(attribute) || n == 0 || n > VEC_INFLIGHT_MAX)
                return -VEC_EMALFORMED;
        do {
                w = vec_word_decode(seen);
                if (!vec_card_allows(seen, i, attribute))
                        return w.quiesced ? -VEC_EBUSY : -VEC_EDENIED;
                if (w.inflight + n > VEC_INFLIGHT_MAX)
                        return -VEC_EBUSY;
                w.inflight = (uint16_t)(w.inflight + n);
        } while (!swap(word, &seen, &w));
        *ret_generation = w.generation;
        return 0;
}

int vec_card_leave(vec_card_word *word, uint32_t n, uint64_t generation)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        do {
                w = vec_word_decode(seen);
                if (w.generation != generation)
                        return -VEC_EDENIED;
                /* More leave than entered: somebody counts wrong, and no result of his counts. */
                if (n == 0 || n > w.inflight)
                        return -VEC_EINTEGRITY;
                w.inflight = (uint16_t)(w.inflight - n);
        } while (!swap(word, &seen, &w));
        return 0;
}

/* ---- several steps of a turn in one change ---- */

/*
 * A fused step is a shorter way through states that its steps have anyway: where all of them would say yes on the word
 * that was loaded, and nobody changes it, the word after the last of them is put there at once. That is one of
 * their own interleavings, the one in which nobody else moved, so whatever holds of all of those holds of it. The
 * cells are read where the single step reads them: after the load of the word, and before the swap.
 */

#define STATUS_BITS (UINT64_C(3) << VEC_WORD_STATUS_SHIFT)
#define INFLIGHT_BITS (INFLIGHT_MASK << VEC_WORD_INFLIGHT_SHIFT)
#define OWNER_BITS (OWNER_MASK << VEC_WORD_OWNER_SHIFT)

/* Fields of a word that are asked for at once. */
static uint64_t fields(uint64_t status, uint64_t inflight, uint64_t owner)
{
        return status << VEC_WORD_STATUS_SHIFT | inflight << VEC_WORD_INFLIGHT_SHIFT | owner << VEC_WORD_OWNER_SHIFT;
}

static int may_announce(uint32_t i, uint32_t n)
{
        return i < VEC_NONE && n && n <= VEC_INFLIGHT_MAX;
}

/* 0, or 1 where somebody came between. */
static int put(vec_card_word *word, uint64_t seen, uint64_t next)
{
        return !atomic_compare_exchange_strong_explicit(&word->word, &seen, next, memory_order_acq_rel,
                                                        memory_order_relaxed);
}

int vec_card_begin_work(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t i, uint8_t needs,
                        uint32_t n, uint64_t *ret_generation)
{
        const uint64_t bits = VEC_C | VEC_R | VEC_W | VEC_WORD_Q | STATUS_BITS | INFLIGHT_BITS | OWNER_BITS;
        uint64_t seen = vec_word_load(word);

        needs |= VEC_A;
        if (card >= VEC_CARDS_MAX || !may_announce(i, n) || (seen & bits) != (VEC_C | fields(VEC_CONTROL, 0, i)) ||
            (needs & ~vec_cell_load(&m->card_m[card][i])))
                return 1;
        if (put(word, seen, (seen & ~STATUS_BITS) | VEC_A | fields(VEC_USING, n, 0)))
                return 1;
        *ret_generation = seen >> VEC_WORD_GENERATION_SHIFT;
        return 0;
}

int vec_card_end_work(vec_card_word *word, uint32_t i, uint32_t n, uint64_t generation, uint64_t *ret_seen)
{
        const uint64_t bits = VEC_WORD_Q | STATUS_BITS | INFLIGHT_BITS | OWNER_BITS;
        uint64_t seen = vec_word_load(word), next = (seen & ~INFLIGHT_BITS) | VEC_WORD_Q;

        if (!may_announce(i, n) || (seen & bits) != fields(VEC_USING, n, i) ||
            seen >> VEC_WORD_GENERATION_SHIFT != generation || put(word, seen, next))
                return 1;
        *ret_seen = next;
        return 0;
}

int vec_card_begin_reply(vec_card_word *word, const struct vec_matrices *m, uint32_t card, uint32_t n, uint64_t seen,
                         uint64_t *ret_generation)
{
        const uint64_t bits = VEC_C | VEC_WORD_Q | STATUS_BITS | INFLIGHT_BITS;
        uint32_t i = seen >> VEC_WORD_OWNER_SHIFT & OWNER_MASK;

        /* The first half of down was a load as good as any: while its q stands, this word changes by force alone. */
        if (card >= VEC_CARDS_MAX || !may_announce(i, n) ||
            (seen & bits) != (VEC_C | VEC_WORD_Q | fields(VEC_USING, 0, 0)) ||
            !(vec_cell_load(&m->card_m[card][i]) & VEC_R))
                return 1;
        if (put(word, seen, (seen & ~(VEC_WORD_Q | STATUS_BITS)) | VEC_R | fields(VEC_CONTROL, n, 0)))
                return 1;
        *ret_generation = seen >> VEC_WORD_GENERATION_SHIFT;
        return 0;
}

int vec_card_end_reply(vec_card_word *word, uint32_t i, uint32_t n, uint64_t generation)
{
        const uint64_t bits = VEC_R | VEC_WORD_Q | STATUS_BITS | INFLIGHT_BITS | OWNER_BITS;
        uint64_t seen = vec_word_load(word);

        return !may_announce(i, n) || (seen & bits) != (VEC_R | fields(VEC_CONTROL, n, i)) ||
               seen >> VEC_WORD_GENERATION_SHIFT != generation ||
               put(word, seen, seen & ~(INFLIGHT_BITS | (uint64_t)VEC_R));
}

/* Whatever stands there: nothing enters from here, and what is inside no longer counts. */
static void write_off(vec_card_word *word)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        do {
                w = vec_word_decode(seen);
                w.quiesced = 1;
                w.inflight = 0;
                w.generation++;
        } while (!swap(word, &seen, &w));
}

void vec_card_quiesce(vec_card_word *word)
{
        write_off(word);
}

/* ---- the guard ---- */

int vec_card_connect(vec_card_word *word)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        do {
                w = vec_word_decode(seen);
                /* Also while the card is in a step of its own: such a step starts and ends in control or using. */
                if (w.status != VEC_FREE)
                        return 0;
                if (w.quiesced)
                        return -VEC_EBUSY;
                w.status = VEC_CONTROL;
        } while (!swap(word, &seen, &w));
        return 0;
}

static int revocable(uint32_t i, uint8_t lost)
{
        return i < VEC_NONE && lost && !(lost & ~(VEC_R | VEC_W | VEC_A | VEC_C));
}

static void strip(struct vec_word *w, uint32_t i, uint8_t lost)
{
        if (w->owner != i)
                return;
        w->held &= (uint8_t)~lost;
        if (lost & VEC_C) {
                w->held = 0;
                w->owner = VEC_NONE;
        }
}

int vec_card_revoke_begin(vec_card_word *word, uint32_t i, uint8_t lost, uint64_t *ret_seen)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        if (!revocable(i, lost))
                return -VEC_EMALFORMED;
        do {
                w = vec_word_decode(seen);
                if (w.quiesced)
                        return -VEC_EBUSY;
                strip(&w, i, lost);
                w.quiesced = 1;
        } while (!swap(word, &seen, &w));
        *ret_seen = seen;
        return 0;
}

int vec_card_revoke_force(vec_card_word *word, uint32_t i, uint8_t lost, uint64_t *ret_seen)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        if (!revocable(i, lost))
                return -VEC_EMALFORMED;
        do {
                w = vec_word_decode(seen);
                strip(&w, i, lost);
                w.quiesced = 1;
                w.inflight = 0;
                w.generation++;
        } while (!swap(word, &seen, &w));
        *ret_seen = seen;
        return 0;
}

int vec_card_drained(const vec_card_word *word)
{
        struct vec_word w = vec_word_decode(vec_word_load(word));

        return w.inflight ? -VEC_EBUSY : 0;
}

void vec_card_abort(vec_card_word *word)
{
        write_off(word);
}

int vec_card_revoke_end(vec_card_word *word)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        do {
                w = vec_word_decode(seen);
                if (!w.quiesced)
                        return -VEC_EMALFORMED;
                if (w.inflight)
                        return -VEC_EBUSY;
                w.quiesced = 0;
                w.generation++;
        } while (!swap(word, &seen, &w));
        return 0;
}

int vec_card_settle(vec_card_word *word)
{
        uint64_t seen = vec_word_load(word);
        struct vec_word w;

        do {
                w = vec_word_decode(seen);
                if (w.quiesced || w.inflight)
                        return -VEC_EBUSY;
                if (w.owner != VEC_NONE)
                        return -VEC_EDENIED;
                if (w.status == VEC_FREE)
                        return 0;
                w.status = VEC_FREE;
                w.generation++;
        } while (!swap(word, &seen, &w));
        return 0;
}
