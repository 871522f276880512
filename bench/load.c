/*
 * The load generator: clients of an echo server, as many as wanted, and so cheap that the server is what is measured.
 *
 *   load churn --port P --concurrency N --bytes B (--count C | --seconds S)   connect, send, read the echo, close
 *                                       [--pause US]                           and wait so long before the next
 *   load burst --port P --count C --bytes B                                   C clients at one instant
 *   load hold  --port P --count C --seconds S --bytes B                       C clients that stay; see below
 *   load bulk  --port P --concurrency N --seconds S                           send and read at once, as fast as it goes
 *   load lines --port P --concurrency N --seconds S --bytes B --window W      lines of B bytes, W bytes under way
 *
 * How it is cheap: one thread, epoll(7), no system call that is not needed. A request is sent right after connect(2):
 * on loopback the handshake is over by then. In bulk, sendfile(2) from a memfd hands pages to TCP without copying them.
 *
 * What makes it exact:
 * - Every byte that comes back is compared. What is sent is cut out of a random pattern, each connection's from another
 *   place, so that bytes of another connection, or of another place in the stream, are noticed.
 * - Nothing waits for ever: a connection that has waited PATIENCE seconds is an error. Errors are counted by kind.
 * - Latency is that of one connection, from before connect(2) until its whole echo is here (CLOCK_MONOTONIC).
 * - It says what processor time it took itself, for a bench that measures its own load generator measures nothing.
 *
 * Ports: who closes first keeps the connection in TIME_WAIT for a minute (RFC 9293, 3.6.1), here always we. So that we
 * never run out of local ports, the destination rotates from 127.0.0.1 to 127.0.0.254: all of them are this machine
 * (RFC 1122, 3.2.1.3), and a port is taken for one pair of addresses only. The server must listen on 0.0.0.0.
 *
 * hold begins no more clients after S seconds. It prints one line of JSON when all that it has begun were answered, and
 * keeps them until its standard input has a line or ends. Then each sends once more, to show that it still is served, and closes. The other modes print one line.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND UINT64_C(1000000000)
#ifndef PATIENCE
#define PATIENCE 10 /* seconds */
#endif
#define LOOK_EVERY (SECOND / 10)     /* how often deadlines are looked at */
#define PATTERN ((size_t)1 << 20)    /* bytes; what follows it in memory is its beginning again */
#define CHUNK ((size_t)1 << 18)      /* bytes sent or read at once, at most */
#define OPENING 64                   /* hold: clients that are connecting at the same time */
#define TOO_MANY 1000                /* errors after which it is no use to go on */
#define ADDRESSES 254
#define NO_WINDOW SIZE_MAX

enum kind { REFUSED, RESET, TIMED_OUT, SHORT, WRONG, OTHER, KINDS };
static const char *const kind_names[KINDS] = {"refused", "reset", "timeout", "short", "wrong", "other"};

struct client {
    int fd;           /* -1: none */
    bool pending;     /* it waits for an answer */
    bool watches_out; /* it waits for room to send in */
    bool finished;    /* bulk: it has sent its FIN */
    size_t place;     /* where in the pattern its bytes begin */
    size_t sent, received;
    uint64_t began;   /* when it connected; in bulk, when bytes last came */
};

static struct client *clients;
static size_t n_clients;
static char *pattern;
static int pattern_file = -1;
static char buffer[CHUNK];
static int epoll;
static in_port_t port;
static size_t size = 32;
static uint64_t serial;     /* connections begun so far */
static uint64_t errors[KINDS], n_errors;
static char other[64];      /* the first error of kind OTHER in words */
static uint64_t *latencies; /* nanoseconds */
static size_t n_latencies, room_for_latencies;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Processor time of this process so far, in nanoseconds. */
static uint64_t cpu_time(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* Page faults of the whole system since it was booted (proc_vmstat(5)); 0 where the kernel does not tell. */
static uint64_t page_faults(void)
{
    char line[256];
    uint64_t count = 0;
    FILE *file = fopen("/proc/vmstat", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "pgfault %" SCNu64, &count) == 1)
            break;
    if (file)
        fclose(file);
    return count;
}

/* Fill the pattern with what does not repeat (xorshift64); with line > 0, with lines of that many bytes. */
static void make_pattern(size_t line)
{
    uint64_t x = UINT64_C(88172645463325252);
    pattern = malloc(PATTERN + CHUNK);
    if (!pattern)
        die("malloc");
    for (size_t i = 0; i < PATTERN; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        pattern[i] = line ? (i % line == line - 1 ? '\n' : (char)('a' + x % 26)) : (char)x;
    }
    memcpy(pattern + PATTERN, pattern, CHUNK);
}

static void count_error(int number)
{
    enum kind kind = number == ECONNREFUSED                       ? REFUSED
                     : number == ECONNRESET || number == EPIPE    ? RESET
                     : number == ETIMEDOUT                        ? TIMED_OUT
                                                                  : OTHER;
    errors[kind]++, n_errors++;
    if (kind == OTHER && !*other)
        snprintf(other, sizeof other, "%s", strerror(number));
}

static void count_kind(enum kind kind)
{
    errors[kind]++, n_errors++;
}

static void keep_latency(uint64_t nanoseconds)
{
    if (n_latencies == room_for_latencies) {
        room_for_latencies = room_for_latencies ? 2 * room_for_latencies : 65536;
        latencies = realloc(latencies, room_for_latencies * sizeof *latencies);
        if (!latencies)
            die("realloc");
    }
    latencies[n_latencies++] = nanoseconds;
}

static struct sockaddr_in next_address(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(serial % ADDRESSES));
    return address;
}

static void watch(struct client *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &event) < 0)
        die("epoll_ctl");
}

static void hang_up(struct client *c)
{
    close(c->fd); /* the last descriptor of it: epoll forgets it as well */
    c->fd = -1;
    c->pending = false;
}

/* Send what is left of the request. False: it failed, and was counted. */
static bool push(struct client *c)
{
    while (c->sent < size) {
        ssize_t n = send(c->fd, pattern + c->place + c->sent, size - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            count_error(errno);
            hang_up(c);
            return false;
        }
        if (n < 0)
            break;
        c->sent += (size_t)n;
    }
    return true;
}

/* Begin to connect and send at once. Returns false if that failed already; it was counted. */
static bool begin(struct client *c)
{
    struct sockaddr_in address = next_address();
    c->place = (serial++ * 4099) % PATTERN;
    c->sent = c->received = 0;
    c->began = now();
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        count_error(errno);
        return false;
    }
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        count_error(errno);
        hang_up(c);
        return false;
    }
    if (!push(c))
        return false;
    c->pending = true;
    c->watches_out = c->sent < size;
    watch(c, EPOLL_CTL_ADD, c->watches_out ? EPOLLIN | EPOLLOUT : EPOLLIN);
    return true;
}

/* Begin the next connection that does not fail at once. False: there is none left, or it is no use. */
static bool begin_one_of(struct client *c, uint64_t count)
{
    while (serial < count && n_errors < TOO_MANY)
        if (begin(c))
            return true;
    return false;
}

/* Go on with one client. Returns true when its conversation is over: answered (then *answered is set) or failed. */
static bool go_on(struct client *c, uint32_t events, bool *answered)
{
    *answered = false;
    if (c->watches_out) {
        if (!push(c))
            return true;
        if (c->sent == size) {
            c->watches_out = false;
            watch(c, EPOLL_CTL_MOD, EPOLLIN);
        }
    }
    if (!(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
        return false;
    size_t rest = size - c->received;
    /* One byte more than is due: a server that sends too much is noticed. */
    ssize_t n = recv(c->fd, buffer, rest < sizeof buffer ? rest + 1 : sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n > 0 && (size_t)n <= rest && memcmp(buffer, pattern + c->place + c->received, (size_t)n) == 0) {
        c->received += (size_t)n;
        *answered = c->received == size;
        c->pending = !*answered;
        return *answered;
    }
    if (n < 0)
        count_error(errno);
    else
        count_kind(n == 0 ? SHORT : WRONG);
    hang_up(c);
    return true;
}

/* Give up those that wait for too long. Returns how many. */
static size_t give_up(uint64_t time)
{
    size_t given_up = 0;
    for (size_t i = 0; i < n_clients; i++)
        if (clients[i].pending && time - clients[i].began > PATIENCE * SECOND) {
            count_kind(TIMED_OUT);
            hang_up(&clients[i]);
            given_up++;
        }
    return given_up;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The least latency that a share of all does not exceed, in microseconds. */
static double quantile(double share)
{
    size_t i = (size_t)(share * (double)n_latencies);
    return n_latencies ? (double)latencies[i < n_latencies ? i : n_latencies - 1] / 1000 : 0;
}

static void print_result(uint64_t done, uint64_t bytes, uint64_t wall, uint64_t cpu, uint64_t faults)
{
    qsort(latencies, n_latencies, sizeof *latencies, by_size);
    printf("{\"done\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"seconds\": %.6f, \"cpu_seconds\": %.6f, "
           "\"page_faults\": %" PRIu64 ", ",
           done, bytes, (double)wall / 1e9, (double)cpu / 1e9, faults);
    printf("\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"errors\": {", quantile(0.50),
           quantile(0.90), quantile(0.99), quantile(1));
    const char *comma = "";
    for (int kind = 0; kind < KINDS; kind++)
        if (errors[kind]) {
            printf("%s\"%s\": %" PRIu64, comma, kind_names[kind], errors[kind]);
            comma = ", ";
        }
    printf("}, \"other\": \"%s\"}\n", other);
    fflush(stdout);
}

static void make_clients(size_t count)
{
    clients = calloc(count, sizeof *clients);
    if (!clients)
        die("calloc");
    n_clients = count;
    for (size_t i = 0; i < count; i++)
        clients[i].fd = -1;
}

static int wait_ready(struct epoll_event *ready, int most)
{
    int n = epoll_wait(epoll, ready, most, (int)(LOOK_EVERY / 1000000));
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    return n;
}

/*
 * Keep `concurrency` clients going until `count` have begun, or for `seconds`. In a time, only what was answered within
 * it counts; those that are under way at its end are waited for all the same, for their errors count.
 */
static void churn(size_t concurrency, uint64_t count, double seconds, const struct timespec *rest)
{
    struct epoll_event ready[256];
    size_t active = 0;
    uint64_t done = 0;
    make_clients(concurrency);
    keep_latency(0), n_latencies = 0; /* the memory is there before it starts */
    uint64_t faults = page_faults(), cpu = cpu_time(), start = now(), end = start, looked = start;
    uint64_t until = seconds > 0 ? start + (uint64_t)(seconds * 1e9) : UINT64_MAX;
    bool open = true; /* within the time, and more are to begin */

    for (size_t i = 0; i < concurrency; i++)
        active += begin_one_of(&clients[i], count);
    while (active) {
        int n = wait_ready(ready, 256);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            bool answered;
            if (!go_on(c, ready[i].events, &answered))
                continue;
            if (answered) {
                uint64_t time = now();
                if (time <= until) {
                    keep_latency(time - c->began);
                    done++;
                    end = time;
                } else if (open) {
                    open = false;
                    cpu = cpu_time() - cpu;
                }
                hang_up(c);
            }
            active--;
            if (!open)
                continue;
            if (rest->tv_nsec)
                nanosleep(rest, NULL);
            active += begin_one_of(c, count);
        }
        uint64_t time = now();
        if (time - looked > LOOK_EVERY) {
            looked = time;
            active -= give_up(time);
        }
        if (open && time > until) {
            open = false;
            cpu = cpu_time() - cpu;
        }
    }
    if (open)
        cpu = cpu_time() - cpu;
    uint64_t wall = seconds > 0 && end > start && n_errors < TOO_MANY ? until - start : end - start;
    print_result(done, done * size, wall, cpu, page_faults() - faults);
}

/* All at one instant; each one's latency counts from that instant, so the last to connect has no advantage. */
static void burst(size_t count)
{
    struct epoll_event ready[256];
    size_t active = 0;
    uint64_t done = 0;
    make_clients(count);
    uint64_t faults = page_faults(), cpu = cpu_time(), start = now(), end = start;
    for (size_t i = 0; i < count; i++)
        active += begin(&clients[i]);
    while (active) {
        int n = wait_ready(ready, 256);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            bool answered;
            if (!go_on(c, ready[i].events, &answered))
                continue;
            if (answered) {
                end = now();
                keep_latency(end - start);
                done++;
                hang_up(c);
            }
            active--;
        }
        active -= give_up(now());
    }
    print_result(done, done * size, end - start, cpu_time() - cpu, page_faults() - faults);
}

/* Wait for the answers to all that is pending; meanwhile begin new clients until `count` have begun or time is up. */
static uint64_t open_and_await(size_t count, uint64_t until)
{
    struct epoll_event ready[256];
    uint64_t done = 0, looked = now();
    size_t active = 0;
    for (size_t i = 0; i < n_clients; i++)
        active += clients[i].pending;
    while (active || (serial < count && n_errors < TOO_MANY)) {
        if (now() > until)
            count = 0;
        while (active < OPENING && serial < count && n_errors < TOO_MANY)
            active += begin(&clients[serial]);
        int n = wait_ready(ready, 256);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            bool waited = c->pending, answered;
            if (!go_on(c, ready[i].events, &answered))
                continue;
            if (answered) {
                keep_latency(now() - c->began);
                done++;
            }
            active -= waited; /* one that was answered before, and is now closed by the server, is no longer active */
        }
        uint64_t time = now();
        if (time - looked > LOOK_EVERY) {
            looked = time;
            active -= give_up(time);
        }
    }
    return done;
}

static void hold(size_t count, double seconds)
{
    char line[64];
    make_clients(count);
    uint64_t faults = page_faults(), cpu = cpu_time(), start = now();
    uint64_t done = open_and_await(count, start + (uint64_t)(seconds * 1e9));
    print_result(done, done * size, now() - start, cpu_time() - cpu, page_faults() - faults);

    while (read(STDIN_FILENO, line, sizeof line) < 0 && errno == EINTR)
        ;
    n_latencies = 0, done = 0;
    faults = page_faults(), cpu = cpu_time(), start = now();
    for (size_t first = 0; first < count; first += OPENING) {
        for (size_t i = first; i < first + OPENING && i < count; i++) {
            struct client *c = &clients[i];
            if (c->fd < 0)
                continue;
            c->sent = c->received = 0;
            c->began = now();
            c->pending = push(c);
            if (c->pending && c->sent < size) {
                c->watches_out = true;
                watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            }
        }
        done += open_and_await(0, 0);
    }
    for (size_t i = 0; i < count; i++)
        if (clients[i].fd >= 0)
            hang_up(&clients[i]);
    print_result(done, done * size, now() - start, cpu_time() - cpu, page_faults() - faults);
}

/* Connect for bulk: blocking, but not for ever. */
static bool open_for_bulk(struct client *c)
{
    struct sockaddr_in address = next_address();
    struct timeval patience = {.tv_sec = PATIENCE};
    int on = 1;
    serial++;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* holds for connect(2) too: socket(7) */
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        count_error(errno == EINPROGRESS ? ETIMEDOUT : errno);
        hang_up(c);
        return false;
    }
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
        die("fcntl");
    c->pending = true;
    return true;
}

/* Send as much as goes, with at most `window` bytes under way. False: it failed, and was counted. */
static bool push_bulk(struct client *c, size_t window)
{
    size_t under_way = c->sent - c->received;
    size_t most = window - under_way < CHUNK ? window - under_way : CHUNK;
    off_t place = (off_t)(c->sent % PATTERN);
    ssize_t n = most ? sendfile(c->fd, pattern_file, &place, most) : 0;
    if (n < 0 && errno != EAGAIN) {
        count_error(errno);
        return false;
    }
    c->sent += n > 0 ? (size_t)n : 0;
    return true;
}

/* Read and compare once. Returns 1 when the stream goes on, 0 at its end, -1 when it failed, which was counted. */
static int pull_bulk(struct client *c)
{
    ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n < 0) {
        count_error(errno);
        return -1;
    }
    if (n == 0) {
        if (c->finished && c->received == c->sent)
            return 0;
        count_kind(SHORT);
        return -1;
    }
    size_t length = (size_t)n;
    if (length > c->sent - c->received || memcmp(buffer, pattern + c->received % PATTERN, length) != 0) {
        count_kind(WRONG);
        return -1;
    }
    c->received += length;
    c->began = now();
    return 1;
}

/*
 * Without a window each client sends as fast as the server takes it. With one, less than fits into a socket's buffer,
 * it sends again when something has come back, and need not wait for room.
 */
static void bulk(size_t concurrency, double seconds, size_t line, size_t window)
{
    struct epoll_event ready[64];
    size_t active = 0;
    uint32_t events = window == NO_WINDOW ? EPOLLIN | EPOLLOUT : EPOLLIN;
    pattern_file = memfd_create("pattern", MFD_CLOEXEC);
    if (pattern_file < 0 || write(pattern_file, pattern, PATTERN) != (ssize_t)PATTERN)
        die("memfd");
    make_clients(concurrency);
    for (size_t i = 0; i < concurrency; i++)
        active += open_for_bulk(&clients[i]);
    uint64_t faults = page_faults(), cpu = cpu_time(), start = now(), time = start, looked = start;
    uint64_t until = start + (uint64_t)(seconds * 1e9), wall = 0, bytes = 0;
    for (size_t i = 0; i < concurrency; i++) {
        struct client *c = &clients[i];
        if (c->fd < 0)
            continue;
        c->began = start;
        watch(c, EPOLL_CTL_ADD, events);
        if (!push_bulk(c, window)) {
            hang_up(c);
            active--;
        }
    }
    while (active) {
        int n = wait_ready(ready, 64);
        for (int i = 0; i < n; i++) {
            struct client *c = ready[i].data.ptr;
            int state = 1;
            if (ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                state = pull_bulk(c);
            if (state == 1 && !wall && !push_bulk(c, window))
                state = -1;
            if (state != 1) {
                hang_up(c);
                active--;
            }
        }
        time = now();
        if (!wall && time >= until) {
            wall = time - start;
            cpu = cpu_time() - cpu;
            for (size_t i = 0; i < concurrency; i++) {
                bytes += clients[i].received;
                if (clients[i].fd < 0)
                    continue;
                clients[i].finished = true;
                watch(&clients[i], EPOLL_CTL_MOD, EPOLLIN);
                shutdown(clients[i].fd, SHUT_WR);
            }
        }
        if (time - looked > LOOK_EVERY) {
            looked = time;
            active -= give_up(time);
        }
    }
    if (!wall) { /* all failed before the time was up */
        wall = time - start;
        cpu = cpu_time() - cpu;
        for (size_t i = 0; i < concurrency; i++)
            bytes += clients[i].received;
    }
    print_result(line ? bytes / line : 0, bytes, wall, cpu, page_faults() - faults);
}

static double number(const char *name, const char *text, double least, double most)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most)) {
        fprintf(stderr, "load: --%s %s is not a number from %.0f to %.0f\n", name, text, least, most);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'},        {"concurrency", required_argument, NULL, 'n'},
        {"bytes", required_argument, NULL, 'b'},       {"count", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'},     {"window", required_argument, NULL, 'w'},
        {"pause", required_argument, NULL, 'r'},       {NULL, 0, NULL, 0},
    };
    struct timespec rest = {0, 0};
    size_t concurrency = 1, window = NO_WINDOW;
    uint64_t count = UINT64_MAX;
    double seconds = 0;
    int option, index;
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
        const char *name = option == '?' ? "" : options[index].name;
        switch (option) {
        case 'p': port = (in_port_t)number(name, optarg, 1, 65535); break;
        case 'n': concurrency = (size_t)number(name, optarg, 1, 100000); break;
        case 'b': size = (size_t)number(name, optarg, 1, CHUNK); break;
        case 'c': count = (uint64_t)number(name, optarg, 1, 1e9); break;
        case 's': seconds = number(name, optarg, 0, 3600); break;
        case 'w': window = (size_t)number(name, optarg, 1, 65536); break;
        case 'r': rest.tv_nsec = (long)(number(name, optarg, 0, 999999) * 1000); break;
        default: return 2;
        }
    }
    const char *mode = optind == argc - 1 ? argv[optind] : "";
    bool lines = strcmp(mode, "lines") == 0, limited = count < UINT64_MAX;
    signal(SIGPIPE, SIG_IGN); /* sendfile(2) has no MSG_NOSIGNAL */
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    make_pattern(lines ? size : 0);
    if (strcmp(mode, "churn") == 0 && limited != (seconds > 0))
        churn(concurrency, count, seconds, &rest);
    else if (strcmp(mode, "burst") == 0 && limited)
        burst(count);
    else if (strcmp(mode, "hold") == 0 && limited && seconds > 0)
        hold(count, seconds);
    else if (strcmp(mode, "bulk") == 0 && seconds > 0)
        bulk(concurrency, seconds, 0, NO_WINDOW);
    else if (lines && seconds > 0 && window != NO_WINDOW && PATTERN % size == 0)
        bulk(concurrency, seconds, size, window);
    else {
        fputs("load: which mode, and for how long? The head of load.c tells\n", stderr);
        return 2;
    }
    return 0;
}
