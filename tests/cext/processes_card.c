/*
 * card.c over processes: the word and the matrices in shared memfds, a card that is several processes (one that makes
 * the steps, workers that enter and leave), a guard that revokes, and deaths in between.
 *
 * usage: processes_card [no-wait|no-kill] ROUNDS SEED
 *
 * A round: the card runs until some results counted; somebody dies or halts (deaths[], in turn); the guard revokes a, r
 * or c as docs/shm.md says: M and b, begin, wait until drained, and where one of the two takes longer than T1, end every
 * process of the card through its pidfd, then abort or force; end; answer. Then the right is given again, on the same
 * word or on a new one, and the next round shows that the card is usable: it waits for results that count.
 *
 * Every operation is checked, none is sampled:
 *   enters     it entered while the right was away (between an answer and the right's return)
 *   stale      leave said yes, and there was an answer between enter and leave
 *   runs       a living worker was inside under the right when the guard answered
 *   delivered  a reply went out after the answer to a revocation of the right under which it entered. Replies go into
 *              pipes between enter and leave; at the answer the guard reads them empty, so what comes later is later
 *
 * no-wait: the guard answers without waiting. no-kill: it writes off a worker that has halted, ends nothing, and the
 * worker goes on after the answer. There have to be violations.
 *
 * One line of counts; exit 1 for a violation, 2 when something did not come about in time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vec/card.h"
#include "vec/status.h"

enum { CARD_INDEX = 1, INSTANCE = 3, WORKERS = 4, STEPPER = WORKERS, PROCESSES, T1_MS = 30, PATIENCE_MS = 20000 };
enum { APPEND, READ, RIGHTS };

/* Where somebody dies. What a process finds here about itself it does, once, at that place. */
enum death { NOBODY, WORKS, BEFORE_REPLY, AFTER_REPLY, WIPES, SWITCHES, ANYWHERE, HALTS, DEATHS };

static const uint8_t bit_of[RIGHTS] = {VEC_A, VEC_R};

/* Shared by all processes. */
static struct board {
        /* Odd from an answer until the right is given again; so it differs between any two grants. */
        atomic_ulong epoch[RIGHTS];
        atomic_int order[PROCESSES];   /* enum death, to this one */
        struct {
                atomic_int inside[RIGHTS];
                atomic_long counted, discarded, replies;
        } worker[WORKERS];
        atomic_long enters, stale;
} *board;

struct reply {
        uint32_t right, reserved;
        uint64_t epoch;
};

static int matrices_fd, word_fd;
static struct vec_matrices *matrices;  /* the guard's */
static vec_card_word *word;
static pid_t pids[PROCESSES];
static int pidfds[PROCESSES], pipes[WORKERS][2];
static int no_wait, no_kill;
static long rounds, deaths, ended, leaked, forced, aborted, delivered, runs, late, new_words;
static uint64_t next_generation;

static void __attribute__((noreturn)) stuck(const char *what)
{
        printf("STUCK: %s in round %ld\n", what, rounds);
        exit(2);
}

static uint64_t now_ms(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void nap(long ns)
{
        const struct timespec time = {.tv_nsec = ns};

        nanosleep(&time, NULL);
}

/* ---- the card's processes ---- */

static void here(int who, enum death place)
{
        int wanted = (int)place;

        if (atomic_compare_exchange_strong(&board->order[who], &wanted, NOBODY))
                kill(getpid(), SIGKILL);
        wanted = HALTS;
        if (place == BEFORE_REPLY && atomic_compare_exchange_strong(&board->order[who], &wanted, NOBODY))
                raise(SIGSTOP);
}

static void deliver(int me, uint32_t right, uint64_t epoch)
{
        const struct reply reply = {.right = right, .epoch = epoch};

        /* Full: the guard has not read yet, and this one is lost. */
        if (write(pipes[me][1], &reply, sizeof reply) == sizeof reply)
                atomic_fetch_add(&board->worker[me].replies, 1);
}

static int work(int me, uint32_t right)
{
        uint64_t generation;
        unsigned long then, now;
        int r = vec_card_enter(word, INSTANCE, bit_of[right], 1, &generation);

        if (r < 0)
                return r;
        then = atomic_load(&board->epoch[right]);
        atomic_store(&board->worker[me].inside[right], 1);
        if (then & 1)
                atomic_fetch_add(&board->enters, 1);
        if (right == READ) {
                here(me, BEFORE_REPLY);
                deliver(me, right, then);
                here(me, AFTER_REPLY);
        } else {
                here(me, WORKS);
        }
        /* There are to be some inside when it matters. */
        if (no_wait)
                nap(100000);
        now = atomic_load(&board->epoch[right]);
        atomic_store(&board->worker[me].inside[right], 0);
        r = vec_card_leave(word, 1, generation);
        if (r == 0 && then != now)
                atomic_fetch_add(&board->stale, 1);
        atomic_fetch_add(r == 0 ? &board->worker[me].counted : &board->worker[me].discarded, 1);
        return 0;
}

static void be_worker(int me)
{
        for (unsigned at = 1;; at++)
                /* Not all the time, or the card never finds nothing in flight and cannot move. */
                if ((work(me, APPEND) < 0 && work(me, READ) < 0) || at % 16 == 0)
                        nap(50000);
}

static void patiently(int *r)
{
        if (*r == -VEC_EBUSY)
                nap(20000);
}

/* The life cycle, over and over; whatever is refused is tried again from a switch. */
static void be_stepper(const struct vec_matrices *m)
{
        uint64_t seen;
        uint8_t why;
        int r;

#define UNTIL_DONE(call)                                                                                               \
        do {                                                                                                           \
                while ((r = (call)) == -VEC_EBUSY)                                                                     \
                        patiently(&r);                                                                                 \
                if (r < 0)                                                                                             \
                        goto again;                                                                                    \
        } while (0)
        for (;;) {
                UNTIL_DONE(vec_card_switch_begin(word, &seen));
                here(STEPPER, SWITCHES);
                UNTIL_DONE(vec_card_switch_end(word, m, CARD_INDEX, INSTANCE, seen));
                for (int turn = 0; turn < 20; turn++) {
                        UNTIL_DONE(vec_card_take(word, m, CARD_INDEX, INSTANCE, VEC_A, &why));
                        UNTIL_DONE(vec_card_up(word, INSTANCE));
                        nap(50000);
                        UNTIL_DONE(vec_card_down_begin(word, INSTANCE, &seen));
                        here(STEPPER, WIPES);
                        UNTIL_DONE(vec_card_down_end(word, seen));
                        UNTIL_DONE(vec_card_take(word, m, CARD_INDEX, INSTANCE, VEC_R, &why));
                        nap(50000);
                        UNTIL_DONE(vec_card_give_back(word, INSTANCE, VEC_R));
                }
                continue;
again:
                nap(100000);
        }
}

static void be(int who)
{
        const struct vec_matrices *m;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* The guard's mappings are not here (MADV_DONTFORK): as over a socket, only the descriptors come along. */
        if (vec_word_open(word_fd, &word) < 0 || vec_matrices_open(matrices_fd, &m) < 0)
                _exit(3);
        if (who == STEPPER)
                be_stepper(m);
        be_worker(who);
}

/* ---- the guard ---- */

static void new_word(void)
{
        if (word) {
                vec_word_unmap(word);
                close(word_fd);
                new_words++;
        }
        if (vec_word_create(next_generation, &word_fd, &word) < 0)
                exit(2);
        if (matrices->card_b[CARD_INDEX][INSTANCE] && vec_card_connect(word) < 0)
                exit(2);
}

static void start_card(void)
{
        fflush(NULL);
        for (int who = 0; who < PROCESSES; who++) {
                atomic_store(&board->order[who], NOBODY);
                if (who < WORKERS)
                        for (int right = 0; right < RIGHTS; right++)
                                atomic_store(&board->worker[who].inside[right], 0);
                pids[who] = fork();
                if (pids[who] < 0)
                        exit(2);
                if (pids[who] == 0)
                        be(who);
                pidfds[who] = (int)syscall(SYS_pidfd_open, pids[who], 0);
                if (pidfds[who] < 0)
                        exit(2);
        }
}

static int is_dead(int who)
{
        struct pollfd fd = {.fd = pidfds[who], .events = POLLIN};

        return poll(&fd, 1, 0) == 1;
}

/* Every process of the card has ended: its descriptor says so, no signal alone. */
static void end_card(void)
{
        for (int who = 0; who < PROCESSES; who++)
                syscall(SYS_pidfd_send_signal, pidfds[who], SIGKILL, NULL, 0);
        for (int who = 0; who < PROCESSES; who++) {
                struct pollfd fd = {.fd = pidfds[who], .events = POLLIN};

                if (poll(&fd, 1, PATIENCE_MS) != 1)
                        stuck("a killed process lives");
                waitpid(pids[who], NULL, 0);
        }
        ended++;
}

static void forget_card(void)
{
        for (int who = 0; who < PROCESSES; who++)
                close(pidfds[who]);
}

/* What is in the pipes. after: what the answer was about; what entered before it is late. */
static void read_replies(int answered)
{
        struct reply reply;

        for (int who = 0; who < WORKERS; who++)
                while (read(pipes[who][0], &reply, sizeof reply) == sizeof reply) {
                        delivered++;
                        if (answered && reply.epoch != atomic_load(&board->epoch[reply.right]))
                                late++;
                }
}

static long counted(void)
{
        long sum = 0;

        for (int who = 0; who < WORKERS; who++)
                sum += atomic_load(&board->worker[who].counted) + atomic_load(&board->worker[who].replies);
        return sum;
}

static void wait_for_results(long more)
{
        long before = counted();
        uint64_t end = now_ms() + PATIENCE_MS;

        while (counted() < before + more) {
                read_replies(1);
                if (now_ms() > end)
                        stuck("a card that cannot be used");
                nap(100000);
        }
}

static void somebody_dies(enum death death, uint64_t chance)
{
        int who = death == WIPES || death == SWITCHES ? STEPPER : (int)(chance % WORKERS);
        uint64_t end = now_ms() + PATIENCE_MS;

        if (death == NOBODY)
                return;
        deaths++;
        if (death == ANYWHERE) {
                /* Somewhere in its loop, also in the middle of enter and leave. */
                who = (int)(chance % PROCESSES);
                nap((long)(chance >> 8) % 300000);
                kill(pids[who], SIGKILL);
        } else {
                atomic_store(&board->order[who], (int)death);
                while (atomic_load(&board->order[who]) != NOBODY) {
                        read_replies(1);
                        if (now_ms() > end)
                                stuck("nobody comes where it should die");
                        nap(20000);
                }
        }
        if (death == HALTS)
                return;
        while (!is_dead(who))
                nap(20000);
}

static int until(int (*done)(void), uint64_t end)
{
        for (;;) {
                if (done() == 0)
                        return 1;
                if (now_ms() > end)
                        return 0;
                nap(50000);
        }
}

static uint8_t losing;

static int begin(void)
{
        uint64_t before;

        return vec_card_revoke_begin(word, INSTANCE, losing, &before);
}

static int drained(void)
{
        return vec_card_drained(word);
}

static int loses(uint32_t right)
{
        return (losing & (bit_of[right] | VEC_C)) != 0;
}

/* Steps 1 to 5 of docs/shm.md. Whether the card had to be ended. */
static int withdraw(uint8_t lost)
{
        uint64_t before, end = now_ms() + T1_MS;
        int begun, cut = 0;

        losing = lost;
        vec_cell_store(&matrices->card_m[CARD_INDEX][INSTANCE],
                       (uint8_t)(matrices->card_m[CARD_INDEX][INSTANCE] & ~lost));
        if (lost & VEC_C)
                vec_cell_store(&matrices->card_b[CARD_INDEX][INSTANCE], 0);
        begun = until(begin, end);
        if (no_wait || !begun || !until(drained, end)) {
                if (begun && vec_word_decode(vec_word_load(word)).inflight)
                        leaked++;
                if (!no_wait && !no_kill) {
                        end_card();
                        cut = 1;
                }
                if (begun) {
                        vec_card_abort(word);
                        aborted++;
                } else {
                        if (vec_card_revoke_force(word, INSTANCE, lost, &before) < 0)
                                stuck("force");
                        forced++;
                }
        }
        if (vec_card_revoke_end(word) < 0)
                stuck("a revocation that does not end");
        /* The answer. */
        for (uint32_t right = 0; right < RIGHTS; right++)
                for (int who = 0; who < WORKERS && loses(right); who++)
                        if (atomic_load(&board->worker[who].inside[right]) && !is_dead(who))
                                runs++;
        read_replies(0);
        for (uint32_t right = 0; right < RIGHTS; right++)
                if (loses(right))
                        atomic_fetch_add(&board->epoch[right], 1);
        return cut;
}

static void give_again(void)
{
        for (uint32_t right = 0; right < RIGHTS; right++)
                if (loses(right))
                        atomic_fetch_add(&board->epoch[right], 1);
        vec_cell_store(&matrices->card_b[CARD_INDEX][INSTANCE], VEC_C);
        vec_cell_store(&matrices->card_m[CARD_INDEX][INSTANCE], VEC_R | VEC_A | VEC_C);
        while (vec_card_connect(word) < 0)
                nap(20000);
}

static void play(long wanted, uint64_t chance)
{
        static const uint8_t lost[] = {VEC_A, VEC_R, VEC_C, VEC_R | VEC_A};

        start_card();
        for (rounds = 0; rounds < wanted; rounds++) {
                enum death death = no_kill ? HALTS : no_wait ? NOBODY : (enum death)(rounds % DEATHS);
                int any = 0, cut;

                chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
                wait_for_results(20);
                somebody_dies(death, chance >> 33);
                /* Whoever halted or died while a reply was due did so under r. */
                cut = withdraw(death == HALTS ? VEC_R : lost[chance >> 60 & 3]);
                /* After the answer, before the right comes back: time for whoever is late. */
                for (int who = 0; who < WORKERS && no_kill; who++)
                        syscall(SYS_pidfd_send_signal, pidfds[who], SIGCONT, NULL, 0);
                nap(2000000);
                read_replies(1);
                for (int who = 0; who < PROCESSES; who++)
                        any |= is_dead(who);
                if (cut || any) {
                        /* One of them has died, so the card has: its word is written off, or is as good as new. */
                        if (!cut)
                                end_card();
                        forget_card();
                        vec_card_abort(word);
                        next_generation = vec_word_decode(vec_word_load(word)).generation + 1;
                        if (rounds % 2)
                                new_word();
                        else if (vec_card_revoke_end(word) < 0)
                                stuck("the same word again");
                        give_again();
                        start_card();
                } else {
                        give_again();
                }
        }
        wait_for_results(20);
        end_card();
        forget_card();
        read_replies(1);
}

int main(int argc, char **argv)
{
        long results = 0, discarded = 0, violations;

        no_wait = argc == 4 && !strcmp(argv[1], "no-wait");
        no_kill = argc == 4 && !strcmp(argv[1], "no-kill");
        if (argc != 3 + no_wait + no_kill)
                return 2;
        board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (board == MAP_FAILED || vec_matrices_create(1, 4, &matrices_fd, &matrices) < 0)
                return 2;
        for (int who = 0; who < WORKERS; who++)
                if (pipe2(pipes[who], O_NONBLOCK | O_CLOEXEC) < 0)
                        return 2;
        matrices->card_m[CARD_INDEX][INSTANCE] = VEC_R | VEC_A | VEC_C;
        matrices->card_b[CARD_INDEX][INSTANCE] = VEC_C;
        new_word();
        play(atol(argv[argc - 2]), strtoull(argv[argc - 1], NULL, 10));
        for (int who = 0; who < WORKERS; who++) {
                results += atomic_load(&board->worker[who].counted);
                discarded += atomic_load(&board->worker[who].discarded);
        }
        violations = atomic_load(&board->enters) + atomic_load(&board->stale) + runs + late;
        printf("violations=%ld enters=%ld stale=%ld runs=%ld late=%ld rounds=%ld deaths=%ld ended=%ld leaked=%ld "
               "aborted=%ld forced=%ld new_words=%ld counted=%ld discarded=%ld delivered=%ld\n",
               violations, atomic_load(&board->enters), atomic_load(&board->stale), runs, late, rounds, deaths, ended,
               leaked, aborted, forced, new_words, results, discarded, delivered);
        return violations != 0;
}
