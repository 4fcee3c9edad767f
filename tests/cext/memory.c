/* The three memories of memory.h. */
#include "memory.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

static enum memory_model model;
static int fences;
static struct memory memory;

static void too_small(const char *what)
{
        fprintf(stderr, "memory: too few %s\n", what);
        exit(2);
}

int memory_named(const char *name, enum memory_model *ret_model)
{
        static const char *const names[] = {"SC", "TSO", "RA"};

        for (int at = 0; at < 3; at++)
                if (!strcmp(name, names[at])) {
                        *ret_model = (enum memory_model)at;
                        return 1;
                }
        return 0;
}

void memory_reset(enum memory_model which, int threads, int locations, int with_fences)
{
        if (threads > MEMORY_THREADS || locations > LOCATIONS_MAX)
                too_small("threads or locations");
        memset(&memory, 0, sizeof memory);
        model = which;
        fences = with_fences;
        memory.threads = threads;
        memory.locations = locations;
        memset(memory.count, 1, sizeof memory.count);
}

void memory_set(int location, uint64_t value)
{
        memory.message[location][0].value = value;
}

void memory_set_plain(int location)
{
        memory.plain[location] = 1;
}

uint64_t memory_latest(int location)
{
        return memory.message[location][memory.count[location] - 1].value;
}

static int acquires(int order)
{
        return order == memory_order_acquire || order == memory_order_acq_rel || order == memory_order_seq_cst;
}

static int releases(int order)
{
        return order == memory_order_release || order == memory_order_acq_rel || order == memory_order_seq_cst;
}

/* ---- the store buffers ---- */

int memory_buffered(int thread)
{
        return memory.buffer[thread].count;
}

void memory_flush(int thread)
{
        __typeof__(memory.buffer[0]) *buffer = &memory.buffer[thread];

        memory.message[buffer->location[0]][0].value = buffer->value[0];
        buffer->count--;
        memmove(buffer->location, buffer->location + 1, buffer->count);
        memmove(buffer->value, buffer->value + 1, buffer->count * sizeof buffer->value[0]);
        buffer->location[buffer->count] = 0;
        buffer->value[buffer->count] = 0;
}

static void drain(int thread)
{
        while (memory_buffered(thread))
                memory_flush(thread);
}

static void buffer_store(int thread, const struct access *access)
{
        __typeof__(memory.buffer[0]) *buffer = &memory.buffer[thread];

        if (buffer->count == BUFFER_MAX)
                too_small("places in a store buffer");
        buffer->location[buffer->count] = (uint8_t)access->location;
        buffer->value[buffer->count++] = access->value;
        if (model == SC || access->order == memory_order_seq_cst)
                drain(thread);
}

static uint64_t buffered_load(int thread, int location)
{
        for (int at = memory.buffer[thread].count - 1; at >= 0; at--)
                if (memory.buffer[thread].location[at] == location)
                        return memory.buffer[thread].value[at];
        return memory.message[location][0].value;
}

/* ---- views ---- */

static void join(struct view *into, const struct view *from)
{
        for (int at = 0; at < memory.locations; at++)
                if (into->at[at] < from->at[at])
                        into->at[at] = from->at[at];
}

/* The view's place in a location, as it is after `by` more (or, below 0, fewer) messages stand at and behind `from`. */
static void shift(struct view *view, int location, int from, int by)
{
        if (view->at[location] >= from)
                view->at[location] = (uint8_t)(view->at[location] + by);
        else if (by < 0)
                view->at[location] = 0;
}

static void shift_all(int location, int from, int by)
{
        for (int at = 0; at < memory.threads; at++) {
                shift(&memory.now[at], location, from, by);
                shift(&memory.seen[at], location, from, by);
                shift(&memory.given[at], location, from, by);
        }
        shift(&memory.fenced, location, from, by);
        for (int other = 0; other < memory.locations; other++)
                for (int at = 0; at < memory.count[other]; at++)
                        shift(&memory.message[other][at].view, location, from, by);
}

/* What nobody can see any more is forgotten, so that equal futures are equal states. */
static void forget(int location)
{
        int oldest = memory.count[location] - 1;
        struct message *messages = memory.message[location];

        for (int at = 0; at < memory.threads; at++)
                if (!memory.gone[at] && memory.now[at].at[location] < oldest)
                        oldest = memory.now[at].at[location];
        if (oldest) {
                memory.count[location] = (uint8_t)(memory.count[location] - oldest);
                memmove(messages, messages + oldest, memory.count[location] * sizeof *messages);
                shift_all(location, oldest, -oldest);
        }
        messages[0].attached = 0;
}

static void forget_all(void)
{
        for (int at = 0; at < memory.locations; at++)
                forget(at);
}

void memory_gone(int thread)
{
        memory.gone[thread] = 1;
        if (model == RA)
                forget_all();
}

int memory_behind(int thread, int location)
{
        return memory.now[thread].at[location] < memory.count[location] - 1;
}

/* A new message behind the one at `before`. */
static struct message *insert(int location, int before)
{
        struct message *messages = memory.message[location];
        int at = before + 1;

        if (memory.count[location] == MESSAGES_MAX)
                too_small("messages");
        shift_all(location, at, 1);
        memmove(messages + at + 1, messages + at, (size_t)(memory.count[location] - at) * sizeof *messages);
        memory.count[location]++;
        memset(&messages[at], 0, sizeof messages[at]);
        return &messages[at];
}

static int can_follow(int location, int at)
{
        return at + 1 == memory.count[location] || !memory.message[location][at + 1].attached;
}

static void read_message(int thread, int location, int at, int order)
{
        const struct view *view = &memory.message[location][at].view;

        if (memory.now[thread].at[location] < at)
                memory.now[thread].at[location] = (uint8_t)at;
        if (acquires(order))
                join(&memory.now[thread], view);
        if (fences) {
                join(&memory.seen[thread], view);
                join(&memory.seen[thread], &memory.now[thread]);
        }
}

static void write_message(int thread, int location, int before, const struct access *access, int attached)
{
        struct view carried = memory.message[location][before].view;
        struct message *message = insert(location, before);

        message->value = access->value;
        message->attached = (uint8_t)attached;
        memory.now[thread].at[location] = (uint8_t)(before + 1);
        if (fences)
                join(&memory.seen[thread], &memory.now[thread]);
        message->view = releases(access->order) ? memory.now[thread] : memory.given[thread];
        if (attached) {
                /* The insertion moved nothing that stands at or before `before`. */
                shift(&carried, location, before + 1, 1);
                join(&message->view, &carried);
        }
        if (message->view.at[location] < before + 1)
                message->view.at[location] = (uint8_t)(before + 1);
}

static void perform_fence(int thread, int order)
{
        if (acquires(order))
                join(&memory.now[thread], &memory.seen[thread]);
        if (order == memory_order_seq_cst) {
                join(&memory.now[thread], &memory.fenced);
                memory.fenced = memory.now[thread];
        }
        if (releases(order))
                memory.given[thread] = memory.now[thread];
        join(&memory.seen[thread], &memory.now[thread]);
}

/* The message that choice number `choice` of a load, store or swap is about; -1 where there are fewer. */
static int chosen_message(int thread, const struct access *access, int choice)
{
        int location = access->location;

        for (int at = memory.now[thread].at[location]; at < memory.count[location]; at++) {
                int possible = access->kind == LOAD || can_follow(location, at) ||
                               (access->kind == SWAP &&
                                memory.message[location][at].value != access->expected);

                if (possible && choice-- == 0)
                        return at;
        }
        return -1;
}

/* ---- accesses ---- */

int memory_choices(int thread, const struct access *access)
{
        int count = 0;

        if (model != RA || access->kind == NOTHING || access->kind == FENCE)
                return 1;
        while (chosen_message(thread, access, count) >= 0)
                count++;
        return count;
}

static uint64_t perform_strong(int thread, const struct access *access, int *ret_swapped)
{
        uint64_t *at = &memory.message[access->location][0].value, saw;

        switch (access->kind) {
        case LOAD:
                return buffered_load(thread, access->location);
        case STORE:
                buffer_store(thread, access);
                return 0;
        case SWAP:
                drain(thread);
                saw = *at;
                *ret_swapped = saw == access->expected;
                if (*ret_swapped)
                        *at = access->value;
                return saw;
        case FENCE:
                if (access->order == memory_order_seq_cst)
                        drain(thread);
                return 0;
        case NOTHING:
                break;
        }
        return 0;
}

uint64_t memory_perform(int thread, const struct access *access, int choice, int *ret_swapped)
{
        int location = access->location, at;
        uint64_t saw = 0;

        if (model != RA)
                return perform_strong(thread, access, ret_swapped);
        if (access->kind == FENCE) {
                perform_fence(thread, access->order);
                return 0;
        }
        at = chosen_message(thread, access, choice);
        if (access->kind != STORE)
                saw = memory.message[location][at].value;
        if (access->kind == LOAD) {
                read_message(thread, location, at, access->order);
        } else if (access->kind == STORE) {
                write_message(thread, location, at, access, 0);
        } else {
                *ret_swapped = saw == access->expected;
                read_message(thread, location, at, *ret_swapped ? access->order : access->failure);
                if (*ret_swapped)
                        write_message(thread, location, at, access, 1);
        }
        forget_all();
        return saw;
}

int memory_touch(int thread, int location)
{
        int race;

        if (model != RA)
                return 0;
        race = memory_behind(thread, location);
        /* Two places are enough: the last write, and everything before it. */
        for (int at = 0; at < memory.threads; at++)
                memory.now[at].at[location] = memory.seen[at].at[location] = memory.given[at].at[location] = 0;
        memory.fenced.at[location] = 0;
        for (int other = 0; other < memory.locations; other++)
                for (int at = 0; at < memory.count[other]; at++)
                        memory.message[other][at].view.at[location] = 0;
        memory.count[location] = 2;
        memset(memory.message[location], 0, 2 * sizeof memory.message[location][0]);
        memory.now[thread].at[location] = 1;
        if (fences)
                memory.seen[thread].at[location] = 1;
        forget(location);
        return race;
}

/* ---- as a state ---- */

static uint64_t hash_view(uint64_t hash, const struct view *view)
{
        uint64_t packed = 0;

        for (int at = 0; at < memory.locations; at++) {
                packed = packed << 8 | view->at[at];
                if (at % 8 == 7) {
                        hash = mix(hash, packed);
                        packed = 0;
                }
        }
        return mix(hash, packed);
}

uint64_t memory_hash(uint64_t hash)
{
        for (int location = 0; location < memory.locations; location++) {
                hash = mix(hash, memory.count[location]);
                for (int at = 0; at < memory.count[location]; at++) {
                        const struct message *message = &memory.message[location][at];

                        hash = mix(hash, message->value << 1 | message->attached);
                        if (model == RA)
                                hash = hash_view(hash, &message->view);
                }
        }
        for (int thread = 0; thread < memory.threads; thread++) {
                if (model == RA && !memory.gone[thread]) {
                        hash = hash_view(hash, &memory.now[thread]);
                        if (fences)
                                hash = hash_view(hash_view(hash, &memory.seen[thread]), &memory.given[thread]);
                }
                hash = mix(hash, memory.buffer[thread].count);
                for (int at = 0; at < memory.buffer[thread].count; at++)
                        hash = mix(mix(hash, memory.buffer[thread].location[at]), memory.buffer[thread].value[at]);
        }
        return fences && model == RA ? hash_view(hash, &memory.fenced) : hash;
}

/* All but the messages, and of those what is there. */
static void copy(struct memory *to, const struct memory *from)
{
        memcpy(to, from, offsetof(struct memory, message));
        for (int at = 0; at < from->locations; at++)
                memcpy(to->message[at], from->message[at], from->count[at] * sizeof to->message[at][0]);
}

void memory_keep(struct memory *ret_copy)
{
        copy(ret_copy, &memory);
}

void memory_put_back(const struct memory *kept)
{
        copy(&memory, kept);
}
