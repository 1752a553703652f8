/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What clients may send, and what they may not: each mistake gets its sentence, and a good client
 * beside it is served as if nothing had been.
 */
#include "core/clients/clients.h"

#include "adapters/firecracker.h"
#include "base/log.h"
#include "core/clients/client.h"
#include "core/job/job.h"
#include "tests/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 16, PATIENCE_MS = 200, DEADLINE_MS = 30000, ANSWER = 1024 };
#define PAGE ((size_t)PF_PAGE_SIZE)

/* ---- a stand: clients of a job that waits ---------------------------------------------------- */

struct stand {
    struct ferry_job job;
    struct pf_clients *clients;
    char directory[32], path[64];
    int memfd;
    char *memory; /* of the client: the memfd mapped */
    struct pf_uffd uffd;
};

static struct stand *set_up(const struct pf_client_kind *kind, bool home)
{
    struct stand *stand = calloc(1, sizeof *stand);
    strcpy(stand->directory, "/tmp/pf-clients-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(stand->directory));
    snprintf(stand->path, sizeof stand->path, "%s/socket", stand->directory);
    pthread_mutex_init(&stand->job.lock, NULL);
    stand->memfd = memfd_create("region", MFD_CLOEXEC);
    CU_ASSERT_EQUAL_FATAL(ftruncate(stand->memfd, PAGES * PAGE), 0);
    stand->memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, stand->memfd, 0);
    struct pf_clients_attr attr = {
        .job = &stand->job,
        .path = stand->path,
        .kind = kind,
        .home = home,
        .patience_ms = PATIENCE_MS,
    };
    if (!home) {
        char *theirs =
            mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, stand->memfd, 0);
        CU_ASSERT_EQUAL_FATAL(pf_regions_add_file(&stand->job.regions, "r", theirs, PAGES * PAGE,
                                                  stand->memfd, 0, NULL),
                              0);
    }
    CU_ASSERT_EQUAL_FATAL(pf_clients_open(&stand->clients, &attr, NULL), 0);
    CU_ASSERT_EQUAL_FATAL(pf_uffd_open(&stand->uffd, 0, NULL), 0);
    return stand;
}

static void take_down(struct stand *stand)
{
    pf_clients_close(stand->clients);
    pf_uffd_close(&stand->uffd);
    munmap(stand->memory, PAGES * PAGE);
    if (stand->job.regions.count && stand->job.regions.list[0].addr)
        munmap(stand->job.regions.list[0].addr, PAGES * PAGE);
    close(stand->memfd);
    CU_ASSERT_EQUAL(rmdir(stand->directory), 0); /* the socket is gone */
    pthread_mutex_destroy(&stand->job.lock);
    free(stand);
}

static int dial(const struct stand *stand)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, stand->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void utter(int fd, const char *text, size_t length, const int *descriptors, unsigned count)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(4 * sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(count * sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    if (count)
        memcpy(CMSG_DATA(&control.header), descriptors, count * sizeof(int));
    struct iovec part = {(void *)(uintptr_t)text, length};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = count ? &control : NULL,
                             .msg_controllen = count ? CMSG_SPACE(count * sizeof(int)) : 0};
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    for (size_t done = 0; sent > 0 && (done += (size_t)sent) < length;)
        sent = send(fd, text + done, length - done, MSG_NOSIGNAL);
}

/* Everything that is said until the line's end or the connection's. */
static void hear(int fd, char answer[ANSWER])
{
    size_t used = 0;
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    while (used < ANSWER - 1 && poll(&polled, 1, DEADLINE_MS) == 1) {
        ssize_t got = recv(fd, answer + used, ANSWER - 1 - used, 0);
        if (got <= 0)
            break;
        used += (size_t)got;
        if (answer[used - 1] == '\n')
            break;
    }
    answer[used] = '\0';
}

static void expect(int fd, const char *words)
{
    char answer[ANSWER];
    hear(fd, answer);
    if (!strstr(answer, words)) {
        fprintf(stderr, "\"%s\" lacks \"%s\"\n", answer, words);
        CU_FAIL("answer");
    }
    close(fd);
}

/* A message with one mapping, in the protocol's words. */
static const char *mapping(char *text, const void *addr, size_t bytes, const char *region,
                           size_t offset)
{
    sprintf(text,
            "{\"mappings\":[{\"address\":%llu,\"size\":%zu,\"region\":\"%s\",\"offset\":%zu,"
            "\"page_size\":4096}]}",
            (unsigned long long)(uintptr_t)addr, bytes, region, offset);
    return text;
}

static void offer(const struct stand *stand, const char *text, int descriptor, const char *words)
{
    int fd = dial(stand);
    utter(fd, text, strlen(text), &descriptor, 1);
    expect(fd, words);
}

/* The one who keeps to the rules. */
static void expect_service(const struct stand *stand)
{
    char text[512];
    offer(stand, mapping(text, stand->memory, PAGES * PAGE, "r", 0), stand->uffd.fd,
          "{\"ok\":true}\n");
}

/* ---- messages that are none ------------------------------------------------------------------ */

static void garbage_is_refused(void)
{
    static const char *const garbage[] = {
        "hello",
        "{{",
        "\xff\xfe\xfd",
        "[[[[[[[[[[[[[[[[",
        "{\"mappings\":]",
        "GET / HTTP/1.0\r\n",
        "'",
        "{} {}",
    };
    struct stand *stand = set_up(&pf_client_generic, false);
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++)
        offer(stand, garbage[i], stand->uffd.fd, "{\"error\":\"");
    expect_service(stand);
    take_down(stand);
}

static void huge_message_is_refused(void)
{
    struct stand *stand = set_up(&pf_client_generic, false);
    static const char beginning[] = "{\"mappings\":[";
    size_t length = PF_CLIENT_MESSAGE_MAX + 4096;
    char *text = malloc(length);
    memset(text, ' ', length);
    memcpy(text, beginning, sizeof beginning - 1);
    int fd = dial(stand);
    utter(fd, text, length, &stand->uffd.fd, 1);
    expect(fd, "longer than 256 KiB");
    free(text);
    expect_service(stand);
    take_down(stand);
}

/* Each beginning of a good message, and then the end. */
static void truncated_messages_are_refused(void)
{
    struct stand *stand = set_up(&pf_client_generic, false);
    char text[512];
    mapping(text, stand->memory, PAGES * PAGE, "r", 0);
    for (size_t length = 0; length < strlen(text); length++) {
        int fd = dial(stand);
        if (length)
            utter(fd, text, length, &stand->uffd.fd, 1);
        shutdown(fd, SHUT_WR);
        expect(fd, length ? "hung up in the middle of its message" : "hung up before its message");
    }
    expect_service(stand);
    take_down(stand);
}

static void message_may_come_byte_by_byte(void)
{
    struct stand *stand = set_up(&pf_client_generic, false);
    char text[512];
    mapping(text, stand->memory, PAGES * PAGE, "r", 0);
    int fd = dial(stand);
    for (size_t i = 0; i < strlen(text); i++)
        utter(fd, text + i, 1, &stand->uffd.fd, i == 0);
    expect(fd, "{\"ok\":true}\n");
    take_down(stand);
}

/* It holds a connection, and nobody up. */
static void hanging_client_is_dropped(void)
{
    struct stand *stand = set_up(&pf_client_generic, false);
    int silent = dial(stand);
    int slow = dial(stand);
    utter(slow, "{\"mapp", 6, NULL, 0);
    expect_service(stand);
    expect(silent, "did not send a whole message");
    expect(slow, "did not send a whole message");
    take_down(stand);
}

/* The socket's mode keeps others out; should that be changed, it still does not serve them. */
static void strangers_are_refused(void)
{
    if (geteuid() != 0) {
        printf("not tested: only root can be somebody else ... ");
        return;
    }
    struct stand *stand = set_up(&pf_client_generic, false);
    char answer[ANSWER] = "";
    char text[512];
    int status = 1;
    mapping(text, stand->memory, PAGES * PAGE, "r", 0);
    chmod(stand->directory, 0755);
    chmod(stand->path, 0666);
    pid_t child = fork();
    if (child == 0) {
        int fd = setuid(65534) ? -1 : dial(stand);
        utter(fd, text, strlen(text), &stand->uffd.fd, 1);
        hear(fd, answer);
        _exit(fd < 0 || answer[0]);
    }
    waitpid(child, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    expect_service(stand);
    take_down(stand);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static void descriptor_must_be_a_userfaultfd(void)
{
    struct stand *stand = set_up(&pf_client_generic, false);
    char text[512];
    int ends[2];
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    mapping(text, stand->memory, PAGES * PAGE, "r", 0);
    int fd = dial(stand);
    utter(fd, text, strlen(text), NULL, 0);
    expect(fd, "no descriptor came");
    offer(stand, text, ends[0], "is no userfaultfd");
    fd = dial(stand);
    utter(fd, text, strlen(text), (int[]){stand->uffd.fd, ends[0]}, 2);
    expect(fd, "more than one descriptor");
    fd = dial(stand);
    utter(fd, text, strlen(text), (int[]){ends[0], ends[0], ends[0], stand->uffd.fd}, 4);
    expect(fd, "more than one descriptor");
    expect_service(stand);
    close(ends[0]);
    close(ends[1]);
    take_down(stand);
}

static int bare_uffd(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    int fd = device < 0 ? -1 : ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    if (device >= 0)
        close(device);
    return fd;
}

static void userfaultfd_must_have_been_set_up(void)
{
    struct stand *stand = set_up(&pf_client_generic, false);
    char text[512];
    int fd = bare_uffd();
    if (fd >= 0) {
        mapping(text, stand->memory, PAGES * PAGE, "r", 0);
        offer(stand, text, fd, "never set up");
        close(fd);
    }
    take_down(stand);
}

/* A child's userfaultfd, as another process would get it by accident. */
static int childs_uffd(pid_t *child, const int words[2], const struct stand *stand)
{
    int pair[2];
    int fd = -1;
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    *child = fork();
    if (*child == 0) {
        struct pf_uffd uffd;
        char word;
        munmap(stand->memory, PAGES * PAGE);
        if (pf_uffd_open(&uffd, 0, NULL))
            _exit(1);
        utter(pair[1], "x", 1, &uffd.fd, 1);
        _exit(read(words[0], &word, 1) != 1);
    }
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    CU_ASSERT_EQUAL(recvmsg(pair[0], &message, 0), 1);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    close(pair[0]);
    close(pair[1]);
    return fd;
}

static void foreign_userfaultfd_is_refused(void)
{
    struct stand *stand = set_up(&pf_client_generic, false);
    char text[512];
    int words[2];
    pid_t child;
    CU_ASSERT_EQUAL_FATAL(pipe(words), 0);
    int fd = childs_uffd(&child, words, stand);
    mapping(text, stand->memory, PAGES * PAGE, "r", 0);
    offer(stand, text, fd, "no memory is mapped there");
    CU_ASSERT_EQUAL(write(words[1], "!", 1), 1);
    waitpid(child, NULL, 0);
    offer(stand, text, fd, "the process behind the userfaultfd has ended");
    expect_service(stand);
    close(fd);
    close(words[0]);
    close(words[1]);
    take_down(stand);
}

/* ---- mappings -------------------------------------------------------------------------------- */

static void mappings_must_fit_the_region(void)
{
    struct stand *stand = set_up(&pf_client_generic, false);
    char text[512];
    int fd = stand->uffd.fd;
    stand->job.regions.list[0].flags = 0; /* as if it were not shared */
    offer(stand, mapping(text, stand->memory, PAGES * PAGE, "r", 0), fd, "is private memory");
    stand->job.regions.list[0].flags = FERRY_SHARED;
    offer(stand, mapping(text, stand->memory, PAGES * PAGE, "other", 0), fd,
          "the job has no region \\\"other\\\"");
    offer(stand, mapping(text, stand->memory, PAGES * PAGE, "r", PAGE), fd,
          "mapping 0 ends at 69632, region \\\"r\\\" at 65536");
    offer(stand, mapping(text, stand->memory, PAGE, "r", PAGES * PAGE), fd, "mapping 0 ends at");
    offer(stand, mapping(text, (char *)(PAGE * 16), PAGE, "r", 0), fd, "no memory is mapped there");
    sprintf(text,
            "{\"mappings\":[{\"address\":%llu,\"size\":8192,\"region\":\"r\",\"offset\":0,"
            "\"page_size\":4096},{\"address\":%llu,\"size\":8192,\"region\":\"r\",\"offset\":0,"
            "\"page_size\":4096}]}",
            (unsigned long long)(uintptr_t)stand->memory,
            (unsigned long long)(uintptr_t)stand->memory + PAGE);
    offer(stand, text, fd, "mapping 1 (8192 bytes at ");
    expect_service(stand);
    take_down(stand);
}

/* ---- whose memory is the job's --------------------------------------------------------------- */

/* A bad one first, then the right one, then one too many. */
static void one_home_is_taken(void)
{
    struct stand *stand = set_up(&pf_client_firecracker, true);
    char text[512];
    char answer[ANSWER];
    char *memory =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = dial(stand);
    utter(fd, "[{}]", 4, &stand->uffd.fd, 1);
    hear(fd, answer); /* nothing is answered; it is hung up */
    CU_ASSERT_STRING_EQUAL(answer, "");
    close(fd);
    sprintf(text,
            "[{\"base_host_virt_addr\":%llu,\"size\":%zu,\"offset\":0,\"page_size_kib\":4096}]",
            (unsigned long long)(uintptr_t)memory, PAGES * PAGE);
    int home = dial(stand);
    utter(home, text, strlen(text), &stand->uffd.fd, 1);
    pf_clients_await_home(stand->clients);
    CU_ASSERT_EQUAL(stand->job.regions.count, 1);
    CU_ASSERT_STRING_EQUAL(stand->job.regions.list[0].name, "memory");
    CU_ASSERT_EQUAL(stand->job.regions.list[0].bytes, PAGES * PAGE);
    CU_ASSERT_TRUE(stand->job.regions.list[0].foreign);
    offer(stand, text, stand->uffd.fd, "");
    CU_ASSERT_EQUAL(pf_clients_failure(stand->clients, NULL), 0);
    close(home);
    stand->job.regions.count = 0;
    take_down(stand);
    munmap(memory, PAGES * PAGE);
}

int main(int argc, char **argv)
{
    static const struct pf_test tests[] = {
        {"garbage_is_refused", garbage_is_refused},
        {"huge_message_is_refused", huge_message_is_refused},
        {"truncated_messages_are_refused", truncated_messages_are_refused},
        {"message_may_come_byte_by_byte", message_may_come_byte_by_byte},
        {"hanging_client_is_dropped", hanging_client_is_dropped},
        {"strangers_are_refused", strangers_are_refused},
        {"descriptor_must_be_a_userfaultfd", descriptor_must_be_a_userfaultfd},
        {"userfaultfd_must_have_been_set_up", userfaultfd_must_have_been_set_up},
        {"foreign_userfaultfd_is_refused", foreign_userfaultfd_is_refused},
        {"mappings_must_fit_the_region", mappings_must_fit_the_region},
        {"one_home_is_taken", one_home_is_taken},
        {NULL, NULL},
    };
    struct pf_uffd uffd;
    struct pf_why why = {""};
    if (pf_uffd_open(&uffd, 0, &why)) {
        printf("skipped: %s\n", why.text);
        return PF_TEST_SKIPPED;
    }
    pf_uffd_close(&uffd);
    pf_log_set_level(PF_LOG_ERROR); /* every refusal is a warning */
    return pf_suite_run("clients", tests, argc > 1 ? argv[1] : NULL);
}
