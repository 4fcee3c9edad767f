/*
 * audit.c on threads: the pump notes COUNT turns as fast as it can, a taker takes them away, now quickly and now so
 * late that the ring is full, and a third thread adds records of its own. Built plain and with ThreadSanitizer by
 * test_audit_stress.py.
 *
 * usage: stress_audit COUNT SEED
 *
 * The taker hashes for itself. Now and then it cannot keep what it took and rewinds the chain. Every turn must arrive
 * once, in order, in an unbroken chain, or be counted by the LOST record that follows. Prints what happened; exit 1 for
 * the first thing that is wrong.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "vec/audit.h"

enum { ADDED = 2000, MOST = 7000 };

static vec_audit *audit;
static unsigned long count;
static unsigned seed;
static atomic_int noted_all, added_all;

static void nap(long us)
{
        const struct timespec time = { .tv_nsec = us * 1000 };

        nanosleep(&time, NULL);
}

static void *pump(void *unused)
{
        unsigned long i;

        for (i = 0; i < count; i++) {
                const struct vec_audit_facts facts = {
                        .word = i, .instance = (uint16_t)(i % 4095), .kind = VEC_AUDIT_TURN, .flags = VEC_AUDIT_WORKED,
                };

                vec_audit_note(audit, &facts);
                if (i % 50000 == 0)
                        nap(200);
        }
        atomic_store(&noted_all, 1);
        return unused;
}

static void *adder(void *unused)
{
        uint64_t i;

        for (i = 0; i < ADDED; i++) {
                if (vec_audit_add(audit, VEC_AUDIT_START, 0, i) < 0)
                        abort();
                if (i % 64 == 0)
                        nap(100);
        }
        atomic_store(&added_all, 1);
        return unused;
}

static int wrong(const char *what, uint64_t at)
{
        printf("wrong=%s at=%lu\n", what, (unsigned long)at);
        return 1;
}

static void hash(const uint8_t *value, const uint8_t *facts, uint8_t *ret)
{
        uint8_t both[VEC_AUDIT_VALUE + VEC_AUDIT_FACTS];

        memcpy(both, value, VEC_AUDIT_VALUE);
        memcpy(both + VEC_AUDIT_VALUE, facts, VEC_AUDIT_FACTS);
        if (!EVP_Digest(both, sizeof(both), ret, NULL, EVP_sha256(), NULL))
                abort();
}

int main(int argc, char **argv)
{
        static uint8_t taken[MOST * VEC_AUDIT_RECORD];
        uint8_t value[VEC_AUDIT_VALUE] = { 0 }, before[VEC_AUDIT_VALUE], next[VEC_AUDIT_VALUE];
        uint64_t sequence = 1000, turn = 0, added = 0, kept = 0, lost = 0, owed = 0, rewound = 0, full = 0, last = 0;
        uint64_t sequence_before, turn_before, owed_before, kept_before, lost_before, told, added_before, added_lost = 0;
        pthread_t threads[2];
        uint32_t n, i;
        int done;

        if (argc != 3)
                return 2;
        count = strtoul(argv[1], NULL, 10);
        seed = (unsigned)strtoul(argv[2], NULL, 10);
        if (vec_audit_new(&audit) < 0 || vec_audit_open(audit, sequence, value) < 0)
                return 2;
        pthread_create(&threads[0], NULL, pump, NULL);
        pthread_create(&threads[1], NULL, adder, NULL);
        do {
                done = atomic_load(&noted_all) && atomic_load(&added_all);
                if (rand_r(&seed) % 40 == 0)
                        nap(20000);
                memcpy(before, value, sizeof(value));
                sequence_before = sequence;
                turn_before = turn;
                owed_before = owed;
                kept_before = kept;
                lost_before = lost;
                added_before = added;
                n = vec_audit_take(audit, taken, 1 + (uint32_t)rand_r(&seed) % MOST);
                last = n;
                full += n > VEC_AUDIT_RING / 8;
                for (told = 0, i = 0; i < n; i++) {
                        const uint8_t *record = taken + (size_t)i * VEC_AUDIT_RECORD;
                        struct vec_audit_facts facts;

                        memcpy(&facts, record, sizeof(facts));
                        hash(value, record, next);
                        if (facts.sequence != sequence)
                                return wrong("sequence", sequence);
                        if (memcmp(next, record + VEC_AUDIT_FACTS, sizeof(next)))
                                return wrong("chain", sequence);
                        memcpy(value, next, sizeof(value));
                        sequence++;
                        if (facts.kind == VEC_AUDIT_LOST) {
                                if (!owed || facts.word != owed)
                                        return wrong("lost", sequence);
                                lost += owed;
                                told += owed;
                                owed = 0;
                        } else if (owed) {
                                return wrong("not told", sequence);
                        } else if (facts.kind == VEC_AUDIT_TURN) {
                                if (facts.word != turn || facts.instance != turn % 4095)
                                        return wrong("turn", sequence);
                                turn++;
                                kept++;
                        } else if (facts.kind == VEC_AUDIT_START) {
                                if (facts.word != added)
                                        return wrong("added", sequence);
                                added++;
                        } else {
                                return wrong("kind", sequence);
                        }
                }
                /* The disk is full: all of it is given up, and with it what it said of earlier losses. */
                if (n && rand_r(&seed) % 25 == 0) {
                        owed = owed_before + n - (owed_before ? 1 : 0);
                        added_lost += added - added_before;
                        lost = lost_before;
                        kept = kept_before;
                        memcpy(value, before, sizeof(value));
                        sequence = sequence_before;
                        vec_audit_rewind(audit, sequence, value, owed);
                        rewound++;
                }
                (void)turn_before;
        } while (!done || last || owed);
        for (i = 0; i < 2; i++)
                pthread_join(threads[i], NULL);
        if (turn != count || added != ADDED)
                return wrong("missing", turn);
        if (kept + lost - added_lost != count)
                return wrong("accounts", kept);
        printf("kept=%lu lost=%lu added=%lu rewound=%lu full=%lu\n", (unsigned long)kept, (unsigned long)lost,
               (unsigned long)added, (unsigned long)rewound, (unsigned long)full);
        vec_audit_free(audit);
        return 0;
}
