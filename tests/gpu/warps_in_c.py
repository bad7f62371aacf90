"""The parts of a warp in C that a translated kernel is compiled with: its types, threads, meetings and order."""

PRELUDE = r"""
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
typedef uint8_t pred; typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
typedef int32_t s32; typedef int64_t s64; typedef float f32; typedef double f64;
static inline f64 f64_of(u64 x) { f64 y; memcpy(&y, &x, 8); return y; }
static inline u64 bits64(f64 x) { u64 y; memcpy(&y, &x, 8); return y; }
static inline f32 f32_of(u32 x) { f32 y; memcpy(&y, &x, 4); return y; }
static inline u32 bits32(f32 x) { u32 y; memcpy(&y, &x, 4); return y; }
static inline f64 rcp_approx(f64 x) { return f64_of(bits64(1.0 / f64_of(bits64(x) >> 32 << 32)) >> 32 << 32); }
static inline s64 whole(f64 x) { return x != x ? INT64_MIN : x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (s64)x; }
static inline u64 inserted(u64 a, u64 b, u32 at, u32 width) {
    u64 mask = (width >= 64 ? ~0ull : (1ull << width) - 1) << at; return (b & ~mask) | (a << at & mask);
}
static inline u32 permuted(u32 a, u32 b, u32 how) {
    u64 both = (u64)b << 32 | a; u32 found = 0;
    for (int k = 0; k < 4; k++) {
        u32 byte = both >> 8 * (how >> 4 * k & 7) & 255;
        found |= (how >> 4 * k & 8 ? (byte & 128 ? 255u : 0u) : byte) << 8 * k;
    }
    return found;
}
static u32 r_nctaid_x, r_ctaid_x, r_ntid_x, running;
#define r_laneid (running % 32)
static void arrive(u32 mask, u32 brought, u32 place, int is_barrier), wait_for(u32 mask, u32 place);
static void read_at(u64 at, u32 line), written_at(u64 at, u64 before, u64 now, u32 line);
static u32 of_partner(u32 distance), of_thread(u32 lane), votes(u32 mask), least_of(u32 mask);
"""
#: Threads with stacks of their own, of which one runs until it leaves. Jumps, for ``swapcontext`` calls the system each time.
THREADS = r"""
typedef struct { ucontext_t context; jmp_buf at; u8 *stack, started, ended; } thread;
static thread *threads;
static jmp_buf outside;
static const u64 *arguments;
static void run_thread(void) { kernel(arguments, running); threads[running].ended = 1; _longjmp(outside, 1); }
static void make_threads(u32 number, const u64 *given) {
    const size_t size = 1 << 18;
    arguments = given; threads = calloc(number, sizeof *threads); visitors = calloc(number, sizeof *visitors);
    for (u32 k = 0; k < number; k++) {
        thread *t = threads + k;
        getcontext(&t->context);
        t->stack = t->context.uc_stack.ss_sp = malloc(size); t->context.uc_stack.ss_size = size;
        makecontext(&t->context, run_thread, 0);
    }
}
static void free_threads(u32 number) { for (u32 k = 0; k < number; k++) free(threads[k].stack); free(threads); free(visitors); }
__attribute__((noinline)) static void leave(void) { if (!_setjmp(threads[running].at)) _longjmp(outside, 1); }
__attribute__((noinline)) static void run(u32 number) {
    running = number;
    if (_setjmp(outside)) return;
    if (threads[number].started) _longjmp(threads[number].at, 1);
    threads[number].started = 1; setcontext(&threads[number].context);
}
"""
#: Threads wait for each other: each says what it brings, and that it came. What it brought to the meeting before the last nobody needs.
MEETINGS = r"""
typedef struct { u32 came, brought[2], place[2]; } visitor;
static visitor *visitors;
static void let_others_run(void), in_step(void);
static void arrive(u32 mask, u32 brought, u32 place, int is_barrier) {
    visitor *warp = visitors + running / 32 * 32, *own = visitors + running;
    u32 number = ++own->came, last = 1;
    own->brought[number & 1] = brought; own->place[number & 1] = place;
    for (u32 k = 0; k < 32; k++) if (mask >> k & 1) last &= warp[k].came >= number;
    if (last && is_barrier) in_step();
}
static void wait_for(u32 mask, u32 place) {
    visitor *warp = visitors + running / 32 * 32; u32 number = visitors[running].came;
    for (u32 k = 0; k < 32; k++) if (mask >> k & 1) {
        while (warp[k].came < number) let_others_run();
        if (warp[k].place[number & 1] != place) abort();
    }
}
static u32 of_thread(u32 lane) { return visitors[running / 32 * 32 + lane].brought[visitors[running].came & 1]; }
static u32 of_partner(u32 distance) { return visitors[running ^ distance].brought[visitors[running].came & 1]; }
static u32 votes(u32 mask) {
    const visitor *warp = visitors + running / 32 * 32; u32 found = 0, now = visitors[running].came & 1;
    for (u32 k = 0; k < 32; k++) if (mask >> k & 1) found |= warp[k].brought[now] << k;
    return found;
}
static u32 least_of(u32 mask) {
    const visitor *warp = visitors + running / 32 * 32; u32 found = ~0u, now = visitors[running].came & 1;
    for (u32 k = 0; k < 32; k++) if (mask >> k & 1 && warp[k].brought[now] < found) found = warp[k].brought[now];
    return found;
}
"""
#: What the threads of a team did with memory since they were last in step: who read what only others have written, and who changed it.
ORDER = r"""
#define PLACES 262144
typedef struct { u64 at, first, last[TEAM]; u32 epoch, strangers, readers, writers, changers, several, lines[2]; } cell;
static struct { cell *cells; u32 *used; u32 number, epoch; } teams[64];
u64 disorder[3];
static cell *cell_at(u64 at) {
    typeof(*teams) *team = teams + running / TEAM; u32 k = at * 0x9E3779B97F4A7C15ull >> 46;
    if (!team->cells) { team->cells = calloc(PLACES, sizeof(cell)); team->used = calloc(PLACES, 4); team->epoch = 1; }
    while (team->cells[k].epoch == team->epoch && team->cells[k].at != at) k = (k + 1) % PLACES;
    cell *c = team->cells + k;
    if (c->epoch != team->epoch) {
        memset(c, 0, sizeof *c); c->at = at; c->epoch = team->epoch; team->used[team->number++] = k;
        if (team->number > PLACES / 2) abort();
    }
    return c;
}
static void read_at(u64 at, u32 line) {
    cell *c = cell_at(at); u32 own = 1u << running % TEAM;
    c->lines[0] = line; c->readers |= own; if (!(c->writers & own)) c->strangers |= own;
}
static void written_at(u64 at, u64 before, u64 now, u32 line) {
    cell *c = cell_at(at); u32 own = running % TEAM;
    if (!c->writers) c->first = now;
    c->several |= c->first != now; c->writers |= 1u << own; c->last[own] = now; c->lines[1] = line;
    if (before != now) c->changers |= 1u << own;
}
static int is_alone(u32 threads) { return __builtin_popcount(threads) == 1; }
static void in_step(void) {
    typeof(*teams) *team = teams + running / TEAM;
    for (u32 i = 0; i < team->number; i++) {
        cell *c = team->cells + team->used[i];
        int differ = 0; u64 last = c->writers ? c->last[__builtin_ctz(c->writers)] : 0;
        for (u32 k = 0; k < TEAM; k++) differ |= c->writers >> k & 1 && c->last[k] != last;
        int unseen = c->strangers && c->changers && !is_alone(c->strangers | c->changers);
        int between = c->readers && c->several && !is_alone(c->writers);
        if ((differ || unseen || between) && !disorder[0]++) { disorder[1] = c->lines[0]; disorder[2] = c->lines[1]; }
    }
    team->number = 0; team->epoch++;
}
"""
BLOCK = r"""
enum { FORWARDS, BACKWARDS, ANY };
static void let_others_run(void) { leave(); }
int run_block(const u64 *given, u32 blocks, u32 block, u32 size, int order) {
    r_nctaid_x = blocks; r_ctaid_x = block; r_ntid_x = size;
    make_threads(size, given);
    u32 left = size, random = order;
    for (u32 waited = 0; left && waited < 1000; waited++) for (u32 k = 0; k < size; k++) {
        random = random * 1664525 + 1013904223;
        u32 next = order == FORWARDS ? k : order == BACKWARDS ? size - 1 - k : (random >> 8) % size;
        u32 came = visitors[next].came;
        if (threads[next].ended) continue;
        run(next);
        if (threads[next].ended || visitors[next].came != came) waited = 0;
        left -= threads[next].ended;
    }
    for (running = 0; running < size; running += TEAM) in_step();
    free_threads(size);
    return left;
}
"""
