/*
 * The client of bench/monitor.py: the same requests to several cards in turn, so that all of them see the same machine.
 *
 *     drive SIZE WINDOW REQUESTS ROUNDS KEY FD...
 *
 * A round is REQUESTS encryptions of SIZE bytes, WINDOW of them on the way at a time, over each descriptor; every other
 * round goes the other way round. For each round one line: nanoseconds a request, by descriptor.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vec/wire.h"

enum { CARDS_MAX = 8 };

static uint64_t now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
        perror(what);
        exit(1);
}

static void send_all(int fd, const uint8_t *bytes, size_t size)
{
        while (size) {
                ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);

                if (sent < 0 && errno != EINTR)
                        fail("send");
                if (sent > 0) {
                        bytes += sent;
                        size -= (size_t)sent;
                }
        }
}

static void receive_all(int fd, uint8_t *bytes, size_t size)
{
        while (size) {
                ssize_t got = recv(fd, bytes, size, 0);

                if (got == 0 || (got < 0 && errno != EINTR))
                        fail("recv");
                if (got > 0) {
                        bytes += got;
                        size -= (size_t)got;
                }
        }
}

int main(int argc, char **argv)
{
        size_t size, window, requests, rounds, round, n, cards, frame, answer;
        uint64_t took[CARDS_MAX];
        uint8_t *asked, *said;

        if (argc < 7 || argc > 6 + CARDS_MAX)
                return 2;
        size = strtoul(argv[1], NULL, 10);
        window = strtoul(argv[2], NULL, 10);
        requests = strtoul(argv[3], NULL, 10);
        rounds = strtoul(argv[4], NULL, 10);
        cards = (size_t)argc - 6;
        frame = VEC_HEADER_SIZE + size;
        answer = VEC_HEADER_SIZE + 12 + size + 16;
        asked = calloc(window, frame);
        said = malloc(window * answer);
        if (!asked || !said)
                fail("memory");
        for (n = 0; n < window; n++) {
                const struct vec_header header = {
                        .op = VEC_OP_ENCRYPT, .flags = VEC_F_FIRST | VEC_F_LAST, .request = n,
                        .key = strtoull(argv[5], NULL, 10), .data_len = (uint32_t)size,
                };

                vec_header_build(&header, asked + n * frame);
        }
        for (round = 0; round < rounds; round++) {
                size_t card;

                for (n = 0; n < cards; n++) {
                        size_t left, at = round % 2 ? cards - 1 - n : n;
                        int fd = atoi(argv[6 + at]);
                        uint64_t start = now_ns();

                        for (left = requests; left; left -= window) {
                                send_all(fd, asked, window * frame);
                                receive_all(fd, said, window * answer);
                        }
                        took[at] = now_ns() - start;
                }
                for (card = 0; card < cards; card++)
                        printf("%.1f%c", (double)took[card] / (double)requests, card + 1 == cards ? '\n' : ' ');
        }
        return 0;
}
