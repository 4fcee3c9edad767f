/* Instances, their key slots and their streams: docs/cards.md, "Where a key is". */
#include <stdlib.h>

#include "pump_parts.h"

struct vec_instance *vec_instance_get(vec_pump *pump, uint32_t index)
{
        if (index >= VEC_INSTANCES_MAX)
                return NULL;
        if (!pump->instance[index]) {
                pump->instance[index] = calloc(1, sizeof(struct vec_instance));
                if (pump->instance[index]) {
                        pump->instance[index]->index = index;
                        pump->instance[index]->weight = 1;
                        pump->instance[index]->epoll = -1;
                }
        }
        return pump->instance[index];
}

struct vec_slot *vec_slot_find(const struct vec_instance *instance, uint64_t number)
{
        struct vec_slot *slot;

        for (slot = instance->slots; slot && slot->number != number; slot = slot->next)
                ;
        return slot;
}

int vec_slot_add(vec_pump *pump, struct vec_instance *instance, uint64_t number, const struct vec_alg_row *alg,
                 uint8_t usage, void *key)
{
        struct vec_slot *slot = calloc(1, sizeof(*slot));

        if (!slot)
                return -VEC_EEXHAUSTED;
        slot->number = number;
        slot->alg = alg;
        slot->usage = usage;
        slot->key = key;
        slot->next = instance->slots;
        instance->slots = slot;
        pump->counters.keys++;
        return 0;
}

struct vec_stream *vec_streams(struct vec_instance *instance, struct vec_slot *slot)
{
        return slot ? slot->stream : instance->digest;
}

struct vec_stream *vec_stream_find(struct vec_stream *streams, uint32_t id)
{
        unsigned i;

        for (i = 0; i < VEC_STREAMS_MAX; i++)
                if (streams[i].id == id)
                        return &streams[i];
        return NULL;
}

uint32_t vec_streams_open(const struct vec_stream *streams)
{
        uint32_t i, open = 0;

        for (i = 0; i < VEC_STREAMS_MAX; i++)
                open += streams[i].id != 0;
        return open;
}

void vec_stream_close(vec_pump *pump, struct vec_stream *stream)
{
        if (stream->state)
                pump->driver->stream_destroy(pump->engine, stream->state);
        *stream = (struct vec_stream){ 0 };
}

static void streams_close(vec_pump *pump, struct vec_stream *streams)
{
        unsigned i;

        for (i = 0; i < VEC_STREAMS_MAX; i++)
                vec_stream_close(pump, &streams[i]);
}

static void destroy(vec_pump *pump, struct vec_slot *slot)
{
        streams_close(pump, slot->stream);
        pump->driver->key_destroy(pump->engine, slot->key);
        free(slot);
        pump->counters.keys--;
}

int vec_slot_destroy(vec_pump *pump, struct vec_instance *instance, uint64_t number)
{
        struct vec_slot **link, *slot;

        for (link = &instance->slots; (slot = *link); link = &slot->next) {
                if (slot->number != number)
                        continue;
                *link = slot->next;
                destroy(pump, slot);
                /* Digests run by the right of a loaded key, so they go with the last one. */
                if (!instance->slots)
                        streams_close(pump, instance->digest);
                return 0;
        }
        return -VEC_EKEY;
}

void vec_slots_destroy(vec_pump *pump, struct vec_instance *instance)
{
        while (instance->slots)
                vec_slot_destroy(pump, instance, instance->slots->number);
        streams_close(pump, instance->digest);
}

static void close_of(vec_pump *pump, struct vec_stream *streams, const struct vec_conn *conn)
{
        unsigned i;

        for (i = 0; i < VEC_STREAMS_MAX; i++)
                if (streams[i].conn == conn)
                        vec_stream_close(pump, &streams[i]);
}

void vec_streams_close_of(vec_pump *pump, struct vec_instance *instance, const struct vec_conn *conn)
{
        struct vec_slot *slot;

        for (slot = instance->slots; slot; slot = slot->next)
                close_of(pump, slot->stream, conn);
        close_of(pump, instance->digest, conn);
}
