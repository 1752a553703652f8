/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * firecracker_client SOCKET FILE [MODE [PAGESIZE]]: stands for a micro-VM that is restored from a
 * snapshot, and keeps to the letter of its protocol: anonymous memory in two pieces, a userfaultfd
 * of its own that tells of removed ranges, one message with a JSON array and the descriptor, no
 * answer. Then it reads its memory as a guest would, gives pages back as a balloon would, and
 * compares all with the memory file. It knows nothing of pageferry.
 *
 * Says "handed over" after the message and "half" when half of the pages have been read; then, with
 * MODE "hold", it waits for a line on standard input, which comes when the handler has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { BALLOON_BYTES = 32768 };

struct piece {
    char *base;
    size_t bytes, offset; /* in the memory file */
};

struct vm {
    struct piece pieces[2];
    const char *file;
    size_t page_size, pages;
    bool *given_back;
    int uffd, connection;
};

static void fail(const char *what)
{
    fprintf(stderr, "firecracker_client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static char *guest_page(const struct vm *vm, size_t page)
{
    size_t at = page * vm->page_size;
    const struct piece *piece = &vm->pieces[at >= vm->pieces[1].offset];
    return piece->base + (at - piece->offset);
}

static void map_memory(struct vm *vm, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st))
        fail(path);
    vm->file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    vm->pages = (size_t)st.st_size / vm->page_size;
    vm->given_back = calloc(vm->pages, sizeof *vm->given_back);
    size_t low = vm->pages / 3 * vm->page_size;
    int huge = vm->page_size > 4096 ? MAP_HUGETLB : MAP_NORESERVE;
    vm->pieces[0] = (struct piece){.bytes = low, .offset = 0};
    vm->pieces[1] = (struct piece){.bytes = (size_t)st.st_size - low, .offset = low};
    /* The second piece lies below the first one: offsets and addresses have no order in common. */
    for (int i = 1; i >= 0; i--) {
        vm->pieces[i].base =
            mmap((char *)0x300000000000 - (i << 30), vm->pieces[i].bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | huge, -1, 0);
        if (vm->pieces[i].base == MAP_FAILED)
            fail("mmap");
    }
}

static void open_uffd(struct vm *vm)
{
    vm->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE};
    if (vm->uffd < 0 || ioctl(vm->uffd, UFFDIO_API, &api))
        fail("userfaultfd");
    for (int i = 0; i < 2; i++) {
        struct uffdio_register range = {
            .range = {.start = (uintptr_t)vm->pieces[i].base, .len = vm->pieces[i].bytes},
            .mode = UFFDIO_REGISTER_MODE_MISSING,
        };
        if (ioctl(vm->uffd, UFFDIO_REGISTER, &range))
            fail("UFFDIO_REGISTER");
    }
}

static size_t describe(const struct vm *vm, char *text, size_t size)
{
    size_t used = 0;
    for (int i = 0; i < 2; i++)
        used += (size_t)snprintf(text + used, size - used,
                                 "%s{\"base_host_virt_addr\":%llu,\"size\":%zu,\"offset\":%zu,"
                                 "\"page_size\":%zu,\"page_size_kib\":%zu}",
                                 i ? "," : "[", (unsigned long long)(uintptr_t)vm->pieces[i].base,
                                 vm->pieces[i].bytes, vm->pieces[i].offset, vm->page_size,
                                 vm->page_size);
    return used + (size_t)snprintf(text + used, size - used, "]");
}

static void hand_over(struct vm *vm, const char *path)
{
    char text[1024];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    vm->connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(vm->connection, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                            .cmsg_level = SOL_SOCKET,
                            .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &vm->uffd, sizeof(int));
    struct iovec part = {text, describe(vm, text, sizeof text)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    if (sendmsg(vm->connection, &message, MSG_NOSIGNAL) != (ssize_t)part.iov_len)
        fail("sendmsg");
}

static void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

static size_t wrong_page(const struct vm *vm, size_t page)
{
    static const char zeros[4096];
    const char *memory = guest_page(vm, page);
    for (size_t at = 0; at < vm->page_size; at += sizeof zeros) {
        const char *expected = vm->given_back[page] ? zeros : vm->file + page * vm->page_size + at;
        if (memcmp(memory + at, expected, sizeof zeros) != 0)
            return 1;
    }
    return 0;
}

static size_t balloon_pages(const struct vm *vm)
{
    return vm->page_size < BALLOON_BYTES ? BALLOON_BYTES / vm->page_size : 1;
}

/* Some that were read and some that never came, perhaps. */
static void balloon(struct vm *vm, size_t from)
{
    size_t pages = balloon_pages(vm);
    if (madvise(guest_page(vm, from), pages * vm->page_size, MADV_DONTNEED))
        fail("MADV_DONTNEED");
    for (size_t i = from; i < from + pages; i++)
        vm->given_back[i] = true;
}

static bool in_one_piece(const struct vm *vm, size_t page)
{
    size_t last = page + balloon_pages(vm) - 1;
    size_t border = vm->pieces[1].offset / vm->page_size;
    return last < vm->pages && (page >= border) == (last >= border);
}

static size_t run(struct vm *vm, bool hold)
{
    size_t wrong = 0;
    /* A prime: every page once, as long as the number of pages is no multiple of it. */
    for (size_t i = 0, page = 0; i < vm->pages; i++, page = (page + 7919) % vm->pages) {
        wrong += wrong_page(vm, page);
        if ((i % 61 == 17 || i == 3) && in_one_piece(vm, page))
            balloon(vm, page);
        if (i == vm->pages / 2)
            say("half");
    }
    if (hold) {
        char word[16];
        say("read");
        if (!fgets(word, sizeof word, stdin))
            fail("waiting for the handler's end");
        balloon(vm, 0); /* there is nobody now who could serve it: and nobody is needed */
    }
    for (size_t page = 0; page < vm->pages; page++)
        wrong += wrong_page(vm, page);
    return wrong;
}

int main(int argc, char **argv)
{
    struct vm vm = {.uffd = -1, .page_size = 4096};
    if (argc < 3)
        return 2;
    if (argc > 4)
        vm.page_size = strtoul(argv[4], NULL, 10);
    map_memory(&vm, argv[2]);
    open_uffd(&vm);
    hand_over(&vm, argv[1]);
    say("handed over");
    size_t wrong = run(&vm, argc > 3 && strcmp(argv[3], "hold") == 0);
    printf("%zu pages, %zu wrong\n", vm.pages, wrong);
    free(vm.given_back);
    return wrong ? 1 : 0;
}
