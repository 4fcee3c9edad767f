/*
 * Who goes next, by weights.
 *
 * Fair is deficit round robin on time: an instance that comes to the head of the ring is given QUANTUM_NS for each unit
 * of its weight and has turns until that is used up; what a turn took is measured, from its start to the slot's owner
 * giving r back, and taken off. A turn is never cut, so a long one leaves a debt, and its instance is passed over until
 * it is paid. So what counts is time, not requests: large ones get no more of the card than small ones. Whoever
 * has nothing to ask for leaves the ring and costs nothing; it keeps no credit, and a debt no longer than the
 * time it stays away.
 *
 * Strict is a round of slots (grid.c): smooth weighted round robin, so that the slots of a heavy instance do not stand
 * in a row.
 */
#include <stdlib.h>
#include <string.h>

#include "pump_parts.h"

enum { QUANTUM_NS = 500000, DEBT_MAX_NS = 100000000 };

void vec_ring_add(vec_pump *pump, struct vec_instance *instance)
{
        if (instance->ringed || pump->grid.strict)
                return;
        if (instance->deficit < 0) {
                uint64_t away = vec_now_ns() - instance->left_at, debt = (uint64_t)-instance->deficit;

                instance->deficit = away < debt ? instance->deficit + (int64_t)away : 0;
        }
        instance->ringed = 1;
        instance->ring_next = NULL;
        if (pump->ring_last)
                pump->ring_last->ring_next = instance;
        else
                pump->ring = instance;
        pump->ring_last = instance;
}

static void leave(vec_pump *pump)
{
        struct vec_instance *instance = pump->ring;

        pump->ring = instance->ring_next;
        if (!pump->ring)
                pump->ring_last = NULL;
        instance->ringed = 0;
        instance->ring_next = NULL;
        if (instance->deficit > 0)
                instance->deficit = 0;
        instance->left_at = pump->last_request;
}

static void to_the_end(vec_pump *pump)
{
        struct vec_instance *instance = pump->ring;

        if (instance == pump->ring_last)
                return;
        pump->ring = instance->ring_next;
        instance->ring_next = NULL;
        pump->ring_last->ring_next = instance;
        pump->ring_last = instance;
}

struct vec_instance *vec_fair_next(vec_pump *pump)
{
        /* Ends: each time round, everybody's deficit grows. */
        while (pump->ring) {
                if (!pump->ring->ready) {
                        leave(pump);
                        continue;
                }
                if (pump->ring->deficit <= 0)
                        pump->ring->deficit += (int64_t)QUANTUM_NS * pump->ring->weight;
                if (pump->ring->deficit > 0)
                        break;
                to_the_end(pump);
        }
        return pump->ring;
}

void vec_fair_done(vec_pump *pump, struct vec_instance *instance)
{
        if (instance->deficit < -DEBT_MAX_NS)
                instance->deficit = -DEBT_MAX_NS;
        if (instance->deficit <= 0)
                to_the_end(pump);
        /*
         * Beside others it stays until it is asked again: what is on its way to it, and was not read during its turn,
         * may come in time for the rest of its time.
         */
        if (!pump->ring->ready && !pump->ring->ring_next)
                leave(pump);
}

void vec_round_build(const struct vec_share *shares, uint32_t count, uint16_t *ret, uint32_t slots)
{
        int32_t *lead = calloc(count ? count : 1, sizeof(*lead));
        uint32_t n, i, first;

        /* Without memory the slots of one stand in a row: as many, not as even. */
        for (n = i = 0; !lead && i < count; i++)
                for (first = 0; first < shares[i].weight; first++)
                        ret[n++] = (uint16_t)shares[i].instance;
        for (n = 0; lead && n < slots; n++) {
                for (first = i = 0; i < count; i++) {
                        lead[i] += (int32_t)shares[i].weight;
                        if (lead[i] > lead[first])
                                first = i;
                }
                lead[first] -= (int32_t)slots;
                ret[n] = (uint16_t)shares[first].instance;
        }
        free(lead);
}
