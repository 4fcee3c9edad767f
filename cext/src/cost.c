/*
 * What work costs on this machine, in ns: measured once, before anybody's data come, since a measure that went on
 * would carry what one instance does into the slots of another.
 *
 * A request costs what its engine takes, and for each byte: being overwritten and read back (R11 down), and going
 * out through a socket. SPARE times the median is reckoned with. What takes longer all the same is an overrun.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pump_parts.h"
#include "vec/arena.h"

enum {
        SAMPLE = 262144, RUNS = 7, SPARE = 2, MIB = 1048576,
        IO_SAMPLE = 65536,
        TURN_NS = 60000,               /* the steps, and the calls that write replies */
        KEY_SIZE = 32,
};

struct bench {
        vec_pump *pump;
        uint8_t *in, *out;
        void *key;
        int pipe[2];
        int failed;
};

static void run_op(struct bench *bench, uint8_t op, uint32_t size)
{
        uint8_t reason = 0, tag[VEC_TAG_MAX], iv[VEC_IV_MAX];
        struct vec_work work = {
                .op = op, .first = 1, .last = 1, .draw = op == VEC_OP_ENCRYPT, .iv = bench->in, .aad = bench->in,
                .in = bench->in, .tag = bench->in, .in_len = size, .ret_iv = iv, .ret_out = bench->out, .ret_tag = tag,
                .out_len = size,
        };

        if (vec_op_find(op)->usage)
                work.key = bench->key;
        else if (op == VEC_OP_SHA256)
                work.out_len = KEY_SIZE;
        /* A decryption of zeros has the wrong tag, found at its very end. */
        if (bench->pump->driver->run(bench->pump->engine, &work, &reason) < 0 && reason != VEC_REASON_BAD_TAG)
                bench->failed = 1;
}

static void run_wipe(struct bench *bench, uint8_t op, uint32_t size)
{
        (void)op;
        vec_wipe(bench->in, size);
        bench->failed |= !vec_is_zero(bench->in, size);
}

static void run_io(struct bench *bench, uint8_t op, uint32_t size)
{
        (void)op;
        bench->failed |= write(bench->pipe[1], bench->in, size) != (ssize_t)size ||
                         read(bench->pipe[0], bench->in, size) != (ssize_t)size;
}

static int by_size(const void *a, const void *b)
{
        uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

        return left < right ? -1 : left > right;
}

static uint64_t median(struct bench *bench, void (*run)(struct bench *, uint8_t, uint32_t), uint8_t op, uint32_t size)
{
        uint64_t took[RUNS], start;
        unsigned n;

        run(bench, op, size);
        for (n = 0; n < RUNS; n++) {
                start = vec_now_ns();
                run(bench, op, size);
                took[n] = vec_now_ns() - start;
        }
        qsort(took, RUNS, sizeof(took[0]), by_size);
        return took[RUNS / 2] * SPARE;
}

static void measure(struct bench *bench, struct vec_cost *ret)
{
        uint64_t wipe, io;
        size_t count, n;
        const struct vec_op_row *row = vec_op_rows(&count);

        wipe = median(bench, run_wipe, 0, SAMPLE) * (MIB / SAMPLE);
        io = median(bench, run_io, 0, IO_SAMPLE) * (MIB / IO_SAMPLE);
        for (n = 0; n < count; n++) {
                uint8_t op = row[n].number;

                ret->request[op] = median(bench, run_op, op, 64);
                ret->mib[op] = median(bench, run_op, op, SAMPLE) * (MIB / SAMPLE) + wipe + io;
        }
        ret->turn = TURN_NS;
        ret->wipe = wipe * OUT_SIZE / MIB;
        ret->measured = 1;
}

int vec_cost_measure(vec_pump *pump)
{
        static const uint8_t zero[KEY_SIZE];
        struct bench bench = { .pump = pump, .pipe = { -1, -1 } };
        struct vec_cost cost = { 0 };
        int r = -VEC_EEXHAUSTED;

        if (pump->cost.measured)
                return 0;
        bench.in = mmap(NULL, 2 * SAMPLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (bench.in == MAP_FAILED)
                return r;
        bench.out = bench.in + SAMPLE;
        if (pipe2(bench.pipe, O_CLOEXEC | O_NONBLOCK) < 0)
                goto done;
        r = pump->driver->key_prepare(pump->engine, VEC_ALG_AES_256_GCM, zero, sizeof(zero), &bench.key);
        if (r < 0)
                goto done;
        measure(&bench, &cost);
        pump->driver->key_destroy(pump->engine, bench.key);
        pump->driver->wipe(pump->engine);
        r = bench.failed ? -VEC_EHARDWARE : 0;
        if (r == 0)
                pump->cost = cost;
done:
        if (bench.pipe[0] >= 0) {
                close(bench.pipe[0]);
                close(bench.pipe[1]);
        }
        munmap(bench.in, 2 * SAMPLE);
        return r;
}

static uint64_t cost_of(const vec_pump *pump, uint8_t op, uint64_t bytes)
{
        return op < COSTS ? pump->cost.request[op] + pump->cost.mib[op] * bytes / MIB : 0;
}

/* Of a slot what is there for one turn: it may begin late, and read first. */
static uint64_t room_for_one(const vec_pump *pump)
{
        uint64_t room = (pump->grid.slot_ns - pump->grid.tail_ns) / 8 * 7;

        return room > pump->cost.turn ? room - pump->cost.turn : 0;
}

uint64_t vec_cost_most(const vec_pump *pump, uint8_t op)
{
        uint64_t room = room_for_one(pump), bytes;

        if (op >= COSTS || !pump->cost.mib[op] || room <= pump->cost.request[op])
                return 0;
        bytes = (room - pump->cost.request[op]) * MIB / pump->cost.mib[op];
        return bytes > REPLY_OVERHEAD ? bytes - REPLY_OVERHEAD : 0;
}

uint64_t vec_cost_of_frame(const vec_pump *pump, const struct vec_frame *frame)
{
        uint64_t body = vec_body_size(&frame->header), room = vec_reply_room(frame);

        return cost_of(pump, frame->header.op, body > room ? body : room);
}

int vec_cost_fits(const vec_pump *pump, const struct vec_frame *frame)
{
        return vec_cost_of_frame(pump, frame) <= room_for_one(pump);
}
