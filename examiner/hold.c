/* The first process of a container in which the image of a submission is built, and whose file system the examiner then
 * starts it in. It does what its standard input says, a line each, and answers with a line:
 *
 *     mkdir PATH     make a folder and those above it           ok | no REASON
 *     look PATH      what is there, links followed              dir REALPATH | file REALPATH | none
 *     sweep          end every other process                    ok | no REASON
 *     go on          after it has said "full"                   ok
 *     seal           nobody but root may write from now on,     ok | no REASON
 *                    everybody may read; give all rights up
 *
 * It says "full" when the disk has lost so much that a RUN may be filling it, and stops all other processes. When its
 * input ends, nobody needs the container any more: it ends, and with it, as the first process of a PID namespace, all
 * others (pid_namespaces(7)).
 *
 * Static, for the image may hold nothing else. Root in an image may trace other processes of root, but none that is not
 * dumpable (ptrace(2), PR_SET_DUMPABLE of prctl(2)).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fts.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define NOBODY 65534
#define LENT "/.forklab" /* memory, for the folders of subjects: LENT of _examination.py */
#define FIRST_UID 10000 /* subjects run as users from here: FIRST_UIDS of _examination.py */
#define LOOK_MS 5 /* fallocate(2) takes gigabytes in so much time */
#define SWEEP_SECONDS 30
#define MOST_BYTES (1ULL << 30)
#define MOST_FILES 300000ULL

static struct statvfs before;
static int sealed, stopped;

static void say(const char *first, const char *second)
{
    if (printf("%s%s%s\n", first, *second ? " " : "", second) < 0 || fflush(stdout) != 0)
        exit(0); /* nobody listens */
}

static void answer(int failed)
{
    say(failed ? "no" : "ok", failed ? strerror(errno) : "");
}

static int make(char *path)
{
    for (char *end = path + 1;; *end++ = '/') {
        end += strcspn(end, "/");
        int last = *end == '\0';
        *end = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST)
            return -1;
        if (last)
            break;
    }
    struct stat it;
    if (stat(path, &it) != 0)
        return -1;
    errno = ENOTDIR;
    return S_ISDIR(it.st_mode) ? 0 : -1;
}

static void look(const char *path)
{
    static char real[PATH_MAX];
    struct stat it;
    if (!realpath(path, real) || stat(real, &it) != 0)
        say("none", "");
    else
        say(S_ISDIR(it.st_mode) ? "dir" : "file", real);
}

static int sweep(void)
{
    time_t deadline = time(NULL) + SWEEP_SECONDS;
    /* One pass meets all that there are, under a lock that fork(2) needs as well; zombies count until they are gone. */
    while (kill(-1, SIGKILL) == 0) {
        errno = EBUSY;
        if (time(NULL) > deadline)
            return -1;
        usleep(1000);
    }
    stopped = 0;
    return errno == ESRCH ? 0 : -1;
}

static int close_to_others(const char *path, const struct stat *it)
{
    int theirs = (it->st_uid >= FIRST_UID && it->st_uid < NOBODY) || (it->st_gid >= FIRST_UID && it->st_gid < NOBODY);
    if (theirs && lchown(path, 0, 0) != 0)
        return -1;
    mode_t mode = it->st_mode & 0755;
    mode |= mode & S_IRUSR ? 0444 : 0;
    mode |= mode & S_IXUSR ? 0111 : 0;
    /* Where there is an access control list, the group's bits are the most that it grants anybody (acl(5)). */
    return mode == (it->st_mode & 07777) ? 0 : chmod(path, mode);
}

/* The examiner goes through it as root: nobody may have left a link there, or may put one there. */
static int clear(void)
{
    struct dirent **names;
    int count = scandir(LENT, &names, NULL, NULL);
    if (count < 0)
        return -1;
    if (count > 2)
        errno = ENOTEMPTY;
    return count == 2 && chown(LENT, 0, 0) == 0 && chmod(LENT, 0755) == 0 ? 0 : -1;
}

static int seal(void)
{
    char *whole[] = {"/", NULL};
    struct stat root;
    if (clear() != 0)
        return -1;
    FTS *tree = fts_open(whole, FTS_PHYSICAL | FTS_XDEV, NULL);
    if (!tree || stat("/", &root) != 0)
        return -1;
    for (FTSENT *each; (errno = 0, each = fts_read(tree));) {
        if (each->fts_info == FTS_DP || each->fts_info == FTS_SL)
            continue;
        if (each->fts_info == FTS_DNR || each->fts_info == FTS_ERR || each->fts_info == FTS_NS) {
            errno = each->fts_errno;
            return -1;
        }
        int mounted = each->fts_statp->st_dev != root.st_dev;
        /* What is mounted has rights of its own: /proc, /tmp in memory, files such as /etc/hosts of the engine. */
        if (!(mounted && S_ISDIR(each->fts_statp->st_mode)) && close_to_others(each->fts_accpath, each->fts_statp) != 0 &&
            !(mounted && (errno == EROFS || errno == EPERM)))
            return -1;
    }
    if (errno != 0 || fts_close(tree) != 0 || chdir("/") != 0)
        return -1;
    sealed = 1;
    /* With the user all capabilities go (capabilities(7)). */
    if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0)
        return -1;
    return prctl(PR_SET_DUMPABLE, 0);
}

static void watch(void)
{
    struct statvfs now;
    if (sealed || stopped || statvfs("/", &now) != 0)
        return;
    unsigned long long lost = before.f_bavail > now.f_bavail ? before.f_bavail - now.f_bavail : 0;
    unsigned long long files = before.f_ffree > now.f_ffree ? before.f_ffree - now.f_ffree : 0;
    if (lost * now.f_frsize > MOST_BYTES || files > MOST_FILES) {
        stopped = 1;
        kill(-1, SIGSTOP);
        say("full", "");
    }
}

static int go_on(void)
{
    if (stopped && kill(-1, SIGCONT) != 0 && errno != ESRCH)
        return -1;
    stopped = 0;
    return statvfs("/", &before);
}

static void obey(char *line)
{
    if (strncmp(line, "mkdir /", 7) == 0)
        answer(make(line + 6));
    else if (strncmp(line, "look /", 6) == 0)
        look(line + 5);
    else if (strcmp(line, "sweep") == 0)
        answer(sweep());
    else if (strcmp(line, "go on") == 0)
        answer(go_on());
    else if (strcmp(line, "seal") == 0)
        answer(seal());
    else
        say("no", "such order");
}

int main(void)
{
    static char text[2 * PATH_MAX];
    size_t length = 0;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (getpid() != 1) /* elsewhere it would end processes that are nothing to it */
        return 1;
    if (prctl(PR_SET_DUMPABLE, 0) != 0 || statvfs("/", &before) != 0 || chdir("/") != 0)
        return 1;
    signal(SIGCHLD, SIG_IGN); /* orphans leave no zombies (sigaction(2)) */
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    for (;;) {
        if (poll(&input, 1, sealed ? -1 : LOOK_MS) > 0) {
            ssize_t count = read(STDIN_FILENO, text + length, sizeof text - 1 - length);
            if (count <= 0)
                return 0;
            text[length += (size_t)count] = '\0';
            char *line = text;
            for (char *end; (end = strchr(line, '\n')); line = end + 1) {
                *end = '\0';
                obey(line);
            }
            length = strlen(line);
            memmove(text, line, length);
            if (length == sizeof text - 1)
                return 2; /* no order is so long */
        }
        watch();
    }
}
