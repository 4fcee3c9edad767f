/*
 * Buffers for large frames, by credit: a fixed number of bytes for all connections together and half of it for
 * one instance, so that nobody takes everything. A large frame is charged for its body and for its answer before
 * a byte of it is read, so whoever was let in can always finish.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "pump_parts.h"
#include "vec/arena.h"

enum { CLASSES = 2, CACHED_MAX = sizeof(((struct vec_pump *)0)->cache[0]) / sizeof(struct vec_buffer *) };

static const size_t class_size[CLASSES] = { BUFFER_SMALL, BUFFER_LARGE };

static unsigned class_of(size_t need)
{
        return need > BUFFER_SMALL;
}

size_t vec_credit_class(size_t need)
{
        return class_size[class_of(need)];
}

/* Strict: of each its own, and enough of it for one large frame, so that nobody finds the pool empty. */
static uint64_t own_part(const vec_pump *pump)
{
        uint64_t part = pump->options.credit / (pump->grid.instances > 1 ? pump->grid.instances : 2);

        return part > 2 * BUFFER_LARGE ? part : 2 * BUFFER_LARGE;
}

int vec_credit_take(vec_pump *pump, struct vec_instance *instance, size_t bytes)
{
        if (pump->grid.strict ? instance->credit + bytes > own_part(pump)
                              : (int64_t)bytes > pump->credit_left || instance->credit + bytes > pump->options.credit / 2)
                return 0;
        pump->credit_left -= (int64_t)bytes;
        instance->credit += bytes;
        return 1;
}

void vec_credit_give(vec_pump *pump, struct vec_instance *instance, size_t bytes)
{
        pump->credit_left += (int64_t)bytes;
        instance->credit -= bytes;
}

static void unmap(struct vec_buffer *buffer)
{
        munmap(buffer->data, buffer->size);
        free(buffer);
}

struct vec_buffer *vec_buffer_get(vec_pump *pump, size_t need)
{
        unsigned class = class_of(need);
        struct vec_buffer *buffer;

        /* Strict: nobody finds memory warm from somebody else. */
        if (pump->cached[class] && !pump->grid.strict)
                return pump->cache[class][--pump->cached[class]];
        buffer = malloc(sizeof(*buffer));
        if (!buffer)
                return NULL;
        buffer->size = class_size[class];
        buffer->data = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (buffer->data == MAP_FAILED) {
                free(buffer);
                return NULL;
        }
        /* Tenants' data are not for dumps and children either. */
        madvise(buffer->data, buffer->size, MADV_DONTDUMP);
        madvise(buffer->data, buffer->size, MADV_DONTFORK);
        return buffer;
}

void vec_buffer_put(vec_pump *pump, struct vec_buffer *buffer, size_t dirty)
{
        unsigned class;

        if (!buffer)
                return;
        class = class_of(buffer->size);
        vec_wipe(buffer->data, dirty);
        if (pump->cached[class] < CACHED_MAX && !pump->grid.strict)
                pump->cache[class][pump->cached[class]++] = buffer;
        else
                unmap(buffer);
}

void vec_buffers_free(vec_pump *pump)
{
        unsigned class;

        for (class = 0; class < CLASSES; class++)
                while (pump->cached[class])
                        unmap(pump->cache[class][--pump->cached[class]]);
}
